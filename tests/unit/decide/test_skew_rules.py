"""Each rule of which versions go together is broken by something, and by nothing that is legal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from provisioner.compile.versions import Version
from provisioner.decide.skew import (
    RULES,
    Fault,
    Place,
    Runs,
    State,
    downgrades,
    faults,
    laid_out,
    move_faults,
    pinned,
    seen,
)
from provisioner.decide.upgrade import plan
from provisioner.model.observed import HostObserved, ObservedItem
from tests.unit.compile.compile_fixture import facts, inventory, lock
from tests.unit.decide.upgrade_fixture import MINORS, runs, versions

OLD = runs(versions("1.36.3"))


def but(component: str, host: str, version: str, emulates: str = "", state: State = OLD) -> State:
    return {**state, Place(component, host): Runs(Version.parse(version), emulates)}


def moved(component: str, after: str, emulates: str = "", *, before: str = "", drained: bool = False) -> list[Fault]:
    place = Place(component, "cp1")
    was = Runs(Version.parse(before)) if before else OLD[place]
    return move_faults(place, was, Runs(Version.parse(after), emulates), OLD, drained=drained)


BROKEN: dict[str, Callable[[], list[Fault]]] = {
    "apiserver-skew": lambda: faults(but("kube-apiserver", "cp1", "1.38.0"), {}),
    "controller-skew": lambda: faults(but("kube-scheduler", "cp2", "1.37.2"), MINORS),
    "kubelet-skew": lambda: faults(but("kubelet", "w1", "1.37.2"), MINORS),
    "proxy-skew": lambda: faults(but("kube-proxy", "w1", "1.32.0"), MINORS),
    "kubelet-proxy-skew": lambda: faults(but("kube-proxy", "w1", "1.32.0"), MINORS),
    "kubectl-skew": lambda: faults(but("kubectl", "cp1", "1.38.0"), MINORS),
    "etcd-skew": lambda: faults(but("etcd", "cp1", "3.8.0"), {}),
    "etcd-patch-first": lambda: faults(but("etcd", "cp1", "3.7.3", state=but("etcd", "cp2", "3.6.10")), {}),
    "etcd-unsupported": lambda: faults(but("etcd", "cp1", "3.5.35"), MINORS),
    "containerd-unsupported": lambda: faults(but("containerd", "w1", "1.7.30"), MINORS),
    "minor-skipped": lambda: moved("kube-apiserver", "1.38.0"),
    "etcd-minor-skipped": lambda: moved("etcd", "3.8.0"),
    "kubelet-undrained": lambda: moved("kubelet", "1.37.2"),
    "minor-downgraded": lambda: moved("kube-apiserver", "1.35.4"),
    "etcd-downgraded": lambda: moved("etcd", "3.6.16", before="3.7.3") or moved("etcd", "3.5.35"),
    "patch-downgraded": lambda: downgrades(OLD, {"kubelet": Version(1, 36, 1)}),
    "component-downgraded": lambda: downgrades(OLD, {"containerd": Version(2, 0, 0)}),
    "release-missing": lambda: list(plan(OLD, versions("1.38.0"), minors={}).refused),
    "component-missing": lambda: list(plan(OLD, {"etcd": Version(3, 6, 16)}, minors=MINORS).refused),
}


def test_every_rule_is_here() -> None:
    assert BROKEN.keys() == RULES.keys()


@pytest.mark.parametrize("rule", BROKEN)
def test_what_breaks_a_rule_is_told_by_its_name_with_its_source(rule: str) -> None:
    found = [fault for fault in BROKEN[rule]() if fault.rule == rule]
    assert found and found[0].saw
    assert str(found[0]) == f"{rule}: {found[0].saw}"
    assert found[0].source == RULES[rule].source


def test_what_is_legal_breaks_none() -> None:
    assert faults(OLD, MINORS) == []
    assert moved("kubelet", "1.37.2", drained=True) == []
    assert moved("kubelet", "1.36.4") == []
    assert moved("kube-apiserver", "1.37.2", "1.36") == []
    assert moved("etcd", "3.7.3") == []


def test_an_api_server_that_emulates_counts_as_both_minors() -> None:
    trial = but("kube-apiserver", "cp1", "1.37.2", "1.36")
    assert faults(trial, MINORS) == []
    assert [f.rule for f in faults(but("kubelet", "w1", "1.37.2", state=trial), MINORS)] == ["kubelet-skew"]
    assert [f.rule for f in faults(but("kubelet", "w1", "1.33.6", state=trial), MINORS)] == ["kubelet-skew"]
    assert faults(but("kubelet", "w1", "1.33.6"), MINORS) == []


def test_a_cluster_is_laid_out_as_its_lock_says() -> None:
    state = laid_out(inventory(), lock())
    assert {place.component for place in state} == set(pinned(lock()))
    assert state[Place("etcd", "cp3")] == Runs(Version(3, 6, 16))
    assert state[Place("kubelet", "w2")] == state[Place("kubectl", "cp1")] == Runs(Version(1, 36, 3))
    assert state[Place("coredns")] == Runs(Version(1, 15, 0))
    assert Place("etcd", "w1") not in state and Place("kubectl", "w1") not in state
    assert len([place for place in state if place.component == "containerd"]) == 5
    assert plan(state, pinned(lock())).hops == ()


def test_a_cluster_whose_network_is_somebody_elses_has_no_flannel() -> None:
    own = inventory(network={"hosts": ["10.77.0.0/24"], "plugin": "none"})
    assert "flannel" not in {place.component for place in laid_out(own, lock())}


def test_what_a_host_has_counts_where_a_run_was_killed_before_it_was_applied() -> None:
    def host(name: str, *links: str) -> HostObserved:
        items = {}
        for path, state in (link.split(": ") for link in links):
            items["symlink", path] = ObservedItem("symlink", path, state)
        return HostObserved(name, facts(name, "10.77.0.11"), items)

    applied = laid_out(inventory(), lock())
    found = seen(applied, {"cp1": host(
        "cp1", "/usr/local/bin/etcd: link /opt/kubewright/etcd/3.7.3-01234567/etcd",
        "/usr/local/bin/flanneld: link /opt/kubewright/flannel/0.28.4-01234567/flanneld",
        "/usr/local/bin/ctr: link /opt/kubewright/containerd/2.3.7-01234567/ctr",
        "/usr/local/bin/kubelet: absent", "/usr/local/bin/kube-proxy: link /usr/bin/true")})
    differing = {place: str(runs) for place, runs in found.items() if runs != applied[place]}
    assert differing == {Place("etcd", "cp1"): "3.7.3", Place("flannel", "cp1"): "0.28.4"}
