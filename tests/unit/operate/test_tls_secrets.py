"""A Secret with a leaf of ours: kept while it is what is desired and valid, else made anew, never shown."""

from __future__ import annotations

import base64
import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from provisioner.compile import pki as table
from provisioner.model.desired import KubeObject
from provisioner.operate import pki
from provisioner.operate.kube import compare_objects, make_changes
from provisioner.operate.tls_secrets import compare_tls_secrets, with_leaf
from tests.fakes.api import MemoryApi, MemoryKube
from tests.unit.compile.compile_fixture import inventory

PATH = "/api/v1/namespaces/kube-system/secrets/metrics-server-tls"
LEAF = table.metrics_server(inventory())
WANTED = KubeObject("addons", {
    "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
    "metadata": {"name": "metrics-server-tls", "namespace": "kube-system",
                 "labels": {"app.kubernetes.io/managed-by": "kubewright"}}}, LEAF)
CA = pki.new_ca("kubernetes-ca of test")


@dataclass
class Cluster:
    """An API with the Secret as the first `up` left it."""

    api: MemoryApi
    kube: MemoryKube

    def differences(self, *, later: float = 0.0, wanted: KubeObject = WANTED) -> list[tuple[str, str]]:
        cas = {"cluster": CA.certificate.decode()}
        found = list(compare_tls_secrets(self.kube, [wanted], cas, time.time() + later))
        return [(c.action, c.reason) for c in found]

    def put(self, pair: pki.KeyPair) -> None:
        self.kube.apply(with_leaf(WANTED, pair).body)

    def set(self, **data: str) -> None:
        live = self.api.objects[PATH]
        self.api.put(PATH, {**live, "data": {**live["data"], **{k.replace("_", "."): v for k, v in data.items()}}})


@pytest.fixture
def cluster() -> Cluster:
    api = MemoryApi()
    made = Cluster(api, MemoryKube(api))
    made.put(pki.issue(LEAF, CA))
    return made


def test_a_valid_leaf_is_kept_and_is_no_stray(cluster: Cluster) -> None:
    assert cluster.differences() == []
    assert compare_objects(cluster.kube, [WANTED]) == ()


def test_a_missing_secret_is_added_and_then_holds_the_leaf_that_the_api_servers_ask_for() -> None:
    api = MemoryApi()
    empty = Cluster(api, MemoryKube(api))
    assert empty.differences() == [("add", "missing")]
    (change,) = compare_tls_secrets(empty.kube, [WANTED], {}, 0.0)
    make_changes(empty.kube, [replace(change, object=with_leaf(WANTED, pki.issue(LEAF, CA)))])
    data: Mapping[str, str] = api.objects[PATH]["data"]
    seen = pki.read(base64.b64decode(data["tls.crt"]).decode(), {"cluster": CA.certificate.decode()})
    assert seen is not None
    assert (seen.issued_by, seen.server, seen.client) == ("cluster", True, False)
    assert "metrics-server.kube-system.svc" in seen.dns_names
    assert empty.differences() == []


@pytest.mark.parametrize(("days", "words"), [(250, None), (260, "below 30 % of its life"), (400, "expired")])
def test_it_is_renewed_below_thirty_percent_of_its_life(cluster: Cluster, days: int, words: str | None) -> None:
    found = cluster.differences(later=days * 86400)
    assert [action for action, _ in found] == ([] if words is None else ["change"])
    assert words is None or words in found[0][1]


def test_a_leaf_of_another_ca_is_replaced(cluster: Cluster) -> None:
    cluster.put(pki.issue(LEAF, pki.new_ca("kubernetes-ca of test")))
    assert cluster.differences() == [("change", "not issued by this inventory's cluster CA")]


def test_a_key_that_is_not_the_leafs_is_replaced(cluster: Cluster) -> None:
    cluster.set(tls_key=base64.b64encode(pki.issue(LEAF, CA).key).decode())
    assert cluster.differences() == [("change", "its key is missing or another one")]


@pytest.mark.parametrize("value", ["", "no base64!", "bm8gUEVN", "/////w=="])
def test_what_is_no_certificate_is_replaced(cluster: Cluster, value: str) -> None:
    cluster.set(tls_crt=value)
    assert cluster.differences() == [("change", "not readable as a certificate")]


def test_other_names_and_a_lost_label_are_seen(cluster: Cluster) -> None:
    renamed = replace(WANTED, certificate=replace(LEAF, dns_names=("other.svc",)))
    assert cluster.differences(wanted=renamed)[0][1].startswith("names differ: +other.svc")
    live = cluster.api.objects[PATH]
    cluster.api.put(PATH, {**live, "metadata": {**live["metadata"], "labels": {}}})
    assert cluster.differences() == [("change", "metadata.labels")]


def test_neither_the_desired_object_nor_its_change_shows_the_key(cluster: Cluster) -> None:
    cluster.put(pki.issue(LEAF, CA, dt.timedelta(days=1)))
    (change,) = compare_tls_secrets(cluster.kube, [WANTED], {}, 0.0)
    shown: dict[str, Any] = {"change": repr(change), "json": change.to_json(), "desired": repr(WANTED)}
    assert "data" not in WANTED.body
    assert "tls.key" not in str(shown)
