"""What `config:` may hold: each field against what the pinned version takes and what other parts rely on."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.artifacts.catalogue import load_catalogue
from provisioner.model.cluster import Cluster
from provisioner.model.components import COMPONENTS, TABLE
from provisioner.model.document import show_path
from provisioner.model.owned import TABLE as OWNED
from provisioner.model.releases import MINORS, RELEASES, takes, went
from provisioner.model.validate import validate
from provisioner.model.validate_config import node_ports, node_prefix
from provisioner.model.values import flag_fault

ROOT = Path(__file__).parents[3]
CASES = yaml.safe_load((ROOT / "tests" / "cases" / "config.yaml").read_text(encoding="utf-8"))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAiUKfncuWSokX3LVyysFBQf4zzgKKxGumVZPqiKkGca"


def cluster(config: dict[str, Any] | None = None, host: str = "", network: dict[str, Any] | None = None,
            above: dict[str, Any] | None = None) -> Cluster:
    hosts: dict[str, Any] = {f"cp{n}": {"address": f"10.20.0.1{n}", "roles": ["control-plane"]} for n in (1, 2, 3)}
    hosts["w1"] = {"address": "10.20.0.21", "roles": ["worker"]}
    if host:
        hosts[host]["config"] = config
    ranges = {"hosts": ["10.20.0.0/24"]} | (network or {})
    return Cluster.model_validate({
        "version": 1, "cluster": "shop", "kubernetes": "1.36.3", "network": ranges,
        "api": {"vip": "10.20.0.10"}, "operators": [KEY], "hosts": hosts,
        "config": (above if host else config) or {}})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "-"))
def test_a_config_has_exactly_the_fault_it_should_have(case: dict[str, Any]) -> None:
    config = json.loads(json.dumps(case["config"]))
    faults = list(validate(cluster(config, case.get("host", ""), case.get("network"), case.get("above"))))
    if "at" not in case:
        assert faults == []
        return
    assert len(faults) == 1 + case.get("more", 0)
    path, message = faults[0]
    assert show_path(path).replace('["', ".").replace('"]', "").endswith(case["at"])
    assert case["says"] in message


def test_a_release_that_can_be_had_is_one_that_the_catalogue_has_and_the_other_way_round() -> None:
    components = load_catalogue().components
    assert set(RELEASES) == set(components["kubernetes"].versions) 
    assert components["kubernetes"].default in RELEASES
    for minor in MINORS.values():
        assert all(version in components[name].versions for name, version in minor.beside.items())


@pytest.mark.parametrize("release", RELEASES)
def test_each_release_has_a_table_of_what_every_component_takes(release: str) -> None:
    for row in TABLE:
        if row.has_flags:
            assert len(takes(row.source, release)["flags"][row.name]) > 20, row.name
        if row.source == "kubernetes" and row.type:
            assert len(takes(row.source, release)["fields"][row.type]) > 20


def test_the_tables_say_of_every_flag_only_kinds_that_can_be_judged() -> None:
    for file in (ROOT / "provisioner" / "model" / "takes").glob("*.json"):
        for flags in json.loads(file.read_text(encoding="utf-8"))["flags"].values():
            for name, kind in flags.items():
                if kind.split()[0] != "exits":
                    assert isinstance(flag_fault(kind.split()[0], "x"), str), name


@pytest.mark.parametrize("release", RELEASES)
def test_every_row_of_what_is_ours_names_flags_and_fields_that_there_are(release: str) -> None:
    from fnmatch import filter as matching

    for row in OWNED:
        component = COMPONENTS[row.component]
        table = takes(component.source, release)
        for name in row.names:
            if name.startswith("flags."):
                assert matching(table["flags"][row.component], name.removeprefix("flags.")), f"{row.component} {name}"
            elif component.source == "kubernetes":
                first = name.partition(".")[0]
                assert first in table["fields"][component.type], f"{row.component} {name}"


def test_a_flag_that_went_is_named_with_the_release_that_had_it_last() -> None:
    manager = {"kube-controller-manager": {"flags": {"concurrent-service-syncs": 2}}}
    assert list(validate(cluster(manager))) == []
    [(path, message)] = validate(cluster(manager).model_copy(update={"kubernetes": "1.37.2"}))
    assert show_path(path) == "config.kube-controller-manager.flags.concurrent-service-syncs"
    assert message == ("kube-controller-manager 1.37.2 has no flag `concurrent-service-syncs`; it went after 1.36.3")


def test_what_comes_later_is_named_with_the_release_that_has_it() -> None:
    [(_, message)] = validate(cluster({"kubelet": {"defaultPodSysctls": {"net.core.somaxconn": "1024"}}}))
    assert message == "kubelet 1.36.3 has no field `defaultPodSysctls`; it comes with 1.37.2"


def test_between_two_versions_what_went_is_told_by_its_name() -> None:
    assert "kube-controller-manager --concurrent-service-syncs" in went("kubernetes", "1.36.3", "1.37.2")
    assert went("kubernetes", "1.36.3", "1.36.3") == ()


def test_the_part_of_a_node_and_the_ports_of_services_follow_what_the_flags_say() -> None:
    manager = {"kube-controller-manager": {"flags": {"node-cidr-mask-size": "26"}}}
    assert (node_prefix(cluster()), node_prefix(cluster(manager))) == (24, 26)
    ports = {"kube-apiserver": {"flags": {"service-node-port-range": "31000-31099"}}}
    assert (node_ports(cluster())[0], node_ports(cluster(ports))[-1]) == (30000, 31099)
    small = {"hosts": ["10.20.0.0/24"], "pods": ["10.30.0.0/24"]}
    assert "has room for 1 nodes" in next(iter(validate(cluster(network=small))))[1]
    assert list(validate(cluster(manager, network=small))) == []


def test_pods_of_a_node_are_counted_to_the_last_address() -> None:
    for prefix, room in ((24, 253), (23, 509), (26, 61)):
        for most, fits in ((room, True), (room + 1, False)):
            config = {"kubelet": {"maxPods": most},
                      "kube-controller-manager": {"flags": {"node-cidr-mask-size": prefix}}}
            assert (list(validate(cluster(config))) == []) is fits


def test_the_cure_for_too_many_pods_is_one_that_works() -> None:
    for most in (254, 300, 509, 510, 4000):
        (_, message), = validate(cluster({"kubelet": {"maxPods": most}}))
        prefix = int(re.search(r"node-cidr-mask-size to (\d+)", message)[1])  # type: ignore[index]
        assert 2 ** (32 - prefix) - 3 >= most > 2 ** (31 - prefix) - 3


def test_the_cases_are_sorted_out_by_name() -> None:
    names = [case["name"] for case in CASES]
    assert len(set(names)) == len(names) > 100
    assert all(a != b for a, b in pairwise(names))
