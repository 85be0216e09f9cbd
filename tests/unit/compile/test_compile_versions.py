"""The version skew policy, case by case and over a whole matrix."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile.versions import (
    Kubernetes,
    Version,
    floor_fault,
    held_back,
    lock_faults,
    skew_faults,
)
from provisioner.model.releases import MINORS
from tests.unit.compile.compile_fixture import lock

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "skew.yaml").read_text())
ARGUMENTS = ("controllers", "kubelets", "proxies", "kubectl")


def minors(numbers: list[int]) -> list[Version]:
    return [Version(1, number, 0) for number in numbers]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_a_mixture_breaks_exactly_the_rules_that_it_breaks(case: dict[str, Any]) -> None:
    others = {name: minors(case.get(name, [])) for name in ARGUMENTS}
    faults = skew_faults(minors(case["apiservers"]), **others)
    assert [fault.partition(":")[0] for fault in faults] == case["broken"]


@pytest.mark.parametrize(("apiserver", "kubelet"), list(product(range(32, 38), repeat=2)))
def test_a_kubelet_is_never_newer_and_at_most_three_older(apiserver: int, kubelet: int) -> None:
    legal = apiserver - 3 <= kubelet <= apiserver
    assert (skew_faults(minors([apiserver]), kubelets=minors([kubelet])) == []) is legal


@pytest.mark.parametrize(("version", "fine"), [
    ("3.5.33", False), ("3.6.13", False), ("3.6.14", True), ("3.6.16", True), ("3.7.0", False), ("3.7.1", True),
    ("3.8.0", False),
])
def test_an_etcd_with_a_known_hole_is_refused(version: str, fine: bool) -> None:
    assert (floor_fault("etcd", version, MINORS["1.36"].floors["etcd"]) == "") is fine


@pytest.mark.parametrize(("version", "fine"), [("1.7.30", False), ("2.0.0", True), ("2.4.2", True), ("20.0.0", False)])
def test_a_containerd_that_the_kubelet_does_not_run_on_is_refused(version: str, fine: bool) -> None:
    faults = lock_faults(Kubernetes.of("1.36.3"), lock(containerd=version))
    assert (faults == []) is fine
    assert all(fault.startswith(f"artifacts.lock: containerd {version} is not supported") for fault in faults)


def test_what_a_new_lock_takes_is_what_may_be_pinned() -> None:
    for minor in MINORS.values():
        for component, floors in minor.floors.items():
            assert floor_fault(component, minor.beside[component], floors) == ""


OLD = lock(kubernetes="1.35.4")


def test_a_hop_may_leave_its_nodes_behind_and_says_so() -> None:
    hop = held_back(lock(), OLD)
    assert lock_faults(Kubernetes.of("1.36.3", "1.35.4"), hop) == []
    assert {a.name for a in hop.artifacts if a.version == "1.35.4"} == {"kubelet", "kube-proxy"}
    assert len(hop.artifacts) == len(lock().artifacts)
    assert [fault.partition(", ")[2] for fault in lock_faults(Kubernetes.of("1.36.3"), hop)] == [
        "the inventory says 1.36.3"] * 2
    assert {fault.partition(", ")[2] for fault in lock_faults(Kubernetes.of("1.36.3", "1.35.4"), lock())} == {
        "nodes stay at 1.35.4"}


@pytest.mark.parametrize(("nodes", "rules"), [
    ("1.36.3", []), ("1.33.9", []), ("1.32.1", ["kubelet-skew", "proxy-skew"]),
    ("1.37.0", ["kubelet-skew", "proxy-skew"]),
])
def test_nodes_stay_behind_by_no_more_than_the_policy_lets_them(nodes: str, rules: list[str]) -> None:
    faults = lock_faults(Kubernetes.of("1.36.3", nodes), held_back(lock(), lock(kubernetes=nodes)))
    assert [fault.partition(":")[0] for fault in faults] == rules


def test_versions_are_ordered_as_numbers() -> None:
    assert Version.parse("v1.36.10") > Version.parse("1.36.9")
    assert str(Version.parse("v1.36.10")) == "1.36.10"
    with pytest.raises(ValueError):
        Version.parse("1.36")
