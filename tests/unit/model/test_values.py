"""The shared values: what they say of themselves, and what they never say."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import KubewrightError
from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.certificate import CertificateSeen
from provisioner.model.desired import (
    Artifact,
    Certificate,
    Desired,
    Directory,
    EtcdMember,
    File,
    HostDesired,
    Item,
    KubeObject,
    Symlink,
    Unit,
)
from provisioner.model.events import SCHEMA_VERSION, Event
from provisioner.model.facts import Facts
from provisioner.model.observed import ABSENT, HostObserved, ObservedItem
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Change, ObjectChange, Plan
from provisioner.model.secret import SecretRef
from tests.unit.compile.compile_fixture import compiled, facts

ROOT = Path(__file__).resolve().parents[3]
PROTOCOL = (ROOT / "docs" / "reference" / "applier-protocol.md").read_text()


def change(host: str, phase: PhaseName, kind: str = "file", action: str = "change", **rest: Any) -> Change:
    return Change(host, phase, kind, rest.pop("path", "/etc/a"), action, "why", "old", "new", **rest)


def a_plan(*changes: Change, **rest: Any) -> Plan:
    hosts = {h: HostDesired(h, ()) for h in ("cp1", "w1", "w2")}
    return Plan("lab", Desired(hosts), changes, **rest)


def test_a_plan_is_empty_only_without_changes_and_without_objects() -> None:
    assert a_plan().is_empty
    assert a_plan(bootstrap=True, strangers=("x",)).is_empty
    assert not a_plan(change("w1", "node")).is_empty
    assert not a_plan(objects=(ObjectChange("access", "ClusterRole a", "add", ""),)).is_empty


def test_the_changes_of_a_phase_come_by_host_in_inventory_order_and_keep_their_own() -> None:
    first, second, third = change("w2", "node"), change("cp1", "node"), change("w2", "node", path="/etc/b")
    plan = a_plan(first, second, change("w1", "pki"), third)
    assert list(plan.of("node").items()) == [("cp1", (second,)), ("w2", (first, third))]
    assert plan.of("etcd") == {}


def test_started_are_the_units_that_a_plan_starts_or_restarts_and_no_others() -> None:
    actions = ("start", "restart", "reload", "enable", "remove")
    plan = a_plan(*(change("w1", "node", "unit", a, path=f"{a}.service") for a in actions),
                  change("w2", "node", "file", "add"))
    assert plan.started == {("w1", "start.service"), ("w1", "restart.service")}


def test_started_follows_a_plan_that_was_replaced() -> None:
    plan = a_plan(change("w1", "node", "unit", "start", path="a.service"))
    assert plan.started
    assert dataclasses.replace(plan, changes=()).started == frozenset()


def test_a_change_as_values_holds_no_bytes_of_its_item() -> None:
    item = File(path="/etc/a", phase="node", content="THE CONTENT")
    one = change("w1", "node", item=item, diff="(shown)")
    assert "THE CONTENT" not in json.dumps(one.to_json()) + repr(one)
    assert one.to_json()["diff"] == "(shown)"
    assert one == change("w1", "node"), "a change is the same whatever it carries"


def test_a_secret_s_reference_never_holds_the_secret() -> None:
    assert {f.name for f in dataclasses.fields(SecretRef)} == {"name", "hmac_key", "digest", "stamp"}
    item = File(path="/k", phase="pki", mode=0o600, secret=SecretRef("sa.key", "ab", "cd"))
    assert item.want() == "file hmac:cd 0600 root:root"
    assert item.spec() == {"kind": "file", "path": "/k", "hmac_key": "ab"}


EVERY = [i for h in compiled().hosts.values() for i in h.items]


@pytest.mark.parametrize("kind", sorted({i.kind for i in EVERY}))
def test_every_kind_of_item_is_in_the_applier_s_protocol_with_the_fields_it_sends(kind: str) -> None:
    (row,) = [line for line in PROTOCOL.splitlines() if line.startswith(f"| {kind} |")]
    documented = set(re.findall(r"`([a-z_0-9]+)`", row.split("|")[3]))
    for item in (i for i in EVERY if i.kind == kind):
        assert item.spec().keys() - {"kind", "path"} <= documented
        assert (item.spec()["kind"], item.spec()["path"]) == (kind, item.path)


def test_only_what_is_generated_on_apply_has_no_state_to_want() -> None:
    assert {i.kind for i in EVERY if i.want() is None} == {"certificate"}


@pytest.mark.parametrize(("item", "state"), [
    (Directory(path="/d", phase="pki", mode=0o700, owner="etcd", group="etcd"), "dir 0700 etcd:etcd"),
    (File(path="/f", phase="pki"), "file sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 "
                                 "0644 root:root"),
    (Symlink(path="/l", phase="pki", target="/t"), "link /t"),
    (Artifact(path="/a", phase="pki", sha256="ab", size=1, name="a", version="1"), "artifact sha256:ab 0755 root:root"),
    (Unit(path="a.service", phase="pki"), "active enabled current")])
def test_a_state_is_written_as_the_applier_writes_it(item: Item, state: str) -> None:
    assert item.want() == state


def test_a_host_s_items_are_found_by_identity_and_by_phase() -> None:
    one, two = File(path="/x", phase="pki"), Directory(path="/x", phase="node")
    host = HostDesired("w1", (one, two))
    assert (host.find("file", "/x"), host.find("directory", "/x"), host.find("unit", "/x")) == (one, two, None)
    assert host.of_phase("node") == (two,)


def test_an_object_is_named_with_its_namespace_where_it_has_one() -> None:
    assert KubeObject("pki", {"kind": "ClusterRole", "metadata": {"name": "x"}}).identity == "ClusterRole x"
    assert KubeObject("pki", {"kind": "Service", "metadata": {"name": "x", "namespace": "n"}}).identity == "Service n/x"


def test_a_member_s_urls_are_https() -> None:
    member = EtcdMember("cp1", "10.0.0.1")
    assert (member.client_url, member.peer_url) == ("https://10.0.0.1:2379", "https://10.0.0.1:2380")


def test_what_was_not_asked_for_is_absent_with_nothing_else_seen() -> None:
    item = ObservedItem("file", "/a", "x", {"text": "t"})
    seen = HostObserved("w1", facts("w1", "10.77.0.21"), {("file", "/a"): item})
    assert (seen.state("file", "/a"), seen.state("file", "/b")) == ("x", ABSENT)
    assert (seen.extra("file", "/a"), seen.extra("file", "/b")) == ({"text": "t"}, {})


def test_an_address_is_found_on_its_interface_and_no_prefix_of_another_counts() -> None:
    one: Facts = facts("w1", "10.77.0.21")
    assert one.interface_of("10.77.0.21") == "host0"
    assert one.interface_of("10.77.0.2") is None


@pytest.mark.parametrize(("now", "left"), [(0.0, 1.0), (-50.0, 1.0), (50.0, 0.5), (100.0, 0.0), (900.0, 0.0)])
def test_the_life_that_is_left_is_a_share_between_none_and_all(now: float, left: float) -> None:
    seen = CertificateSeen("", "", (), (), True, True, 0.0, 100.0, "")
    assert seen.life_left(now) == left
    assert dataclasses.replace(seen, not_after=0.0).life_left(now) == 0.0


def test_an_event_leaves_out_what_is_empty_but_not_what_is_zero() -> None:
    assert Event("phase-done", 5.0, phase="pki", seconds=0.0).to_json() == {
        "v": SCHEMA_VERSION, "type": "phase-done", "t": 5.0, "phase": "pki", "seconds": 0.0}


def test_an_artifact_lies_under_its_component_version_and_digest_so_that_versions_stand_side_by_side() -> None:
    one = LockedArtifact("kubelet", "kubernetes", "1.36.3", "amd64", "binary", "go", "ab" * 32, 9)
    assert one.host_path == "/opt/kubewright/kubernetes/1.36.3-abababab/kubelet"
    lock = ArtifactLock((one, dataclasses.replace(one, arch="arm64")))
    assert lock.get("kubelet", "arm64").arch == "arm64"
    assert list(lock.for_arch("amd64")) == [one]
    with pytest.raises(KeyError, match="etcd for amd64"):
        lock.get("etcd", "amd64")


def test_every_kind_of_fault_has_an_exit_code_of_its_own() -> None:
    kinds = KubewrightError.__subclasses__()
    ours = [k for k in kinds if k.__module__ == "provisioner.errors"]
    codes = [k.exit_code for k in ours]
    assert len(set(codes)) == len(codes)
    assert set(codes) == {10, 11, 12, 13, 14, 15, 16, 64, 130}


def test_a_certificate_is_wanted_by_what_it_says_not_by_its_bytes() -> None:
    item = Certificate(path="/c.crt", key_path="/c.key", phase="pki", ca="etcd", common_name="x")
    assert item.want() is None
    assert item.spec() == {"kind": "certificate", "path": "/c.crt", "key_path": "/c.key"}
