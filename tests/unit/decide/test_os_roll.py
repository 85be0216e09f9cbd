"""Who goes when in a roll of operating systems, and how one that was ended is gone on with: from values alone."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from provisioner.decide import os_roll
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Desired, HostDesired, Item, Unit
from provisioner.model.guards import DRAINED, LEADS_ELSEWHERE, OTHERS_BALANCE, OUT_OF_SERVICE
from provisioner.model.managers import APT
from provisioner.model.os_state import Newer, OsState
from provisioner.model.plan import Plan
from tests.topologies import TOPOLOGIES, Topology
from tests.unit.compile.compile_fixture import LAB

Act = dict[str, Any]
ROLL: Act = {"origin": {"verb": "upgrade --os"}}


def unit(name: str) -> Item:
    return Unit(path=f"{name}.service", phase="node")


def planned(**hosts: tuple[str, ...]) -> Plan:
    return Plan("c", Desired({h: HostDesired(h, tuple(unit(n) for n in names)) for h, names in hosts.items()}, ()))


def test_what_runs_on_a_host_says_what_is_held() -> None:
    plan = planned(cp=("kubelet", "kube-apiserver", "etcd", "haproxy", "keepalived"), w=("kubelet", "haproxy"),
                   e=("etcd",), bare=())
    held = {h: os_roll.turns(plan, "node", [h])[0].guards for h in ("cp", "w", "e", "bare")}
    assert held == {"cp": (DRAINED, OUT_OF_SERVICE, LEADS_ELSEWHERE, OTHERS_BALANCE), "w": (DRAINED,),
                    "e": (LEADS_ELSEWHERE,), "bare": ()}


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_only_workers_go_together_and_the_first_of_them_alone(limit: int) -> None:
    workers = [f"w{n}" for n in range(6)]
    plan = planned(**dict.fromkeys(["a", "b", *workers], ("kubelet",)))
    turns = os_roll.turns(plan, "node", ["a", *workers, "b"], workers=workers, limit=limit, last=["a"])
    assert [t.hosts for t in turns[:3]] == [("b",), ("a",), ("w0",)]
    assert [h for t in turns[3:] for h in t.hosts] == workers[1:]
    assert all(len(t.hosts) <= limit for t in turns)


def test_what_an_upgrade_left_half_done_is_told_with_what_comes_of_it() -> None:
    states = {"w1": OsState(half=("runc", "tool"), newer=(Newer("tool", "1", "2"),)), "w2": OsState(half=("runc",))}
    assert [(one.path, one.sentence) for one in os_roll.noted(states, {}, reboot=False)] == [
        ("w1", "left half done by an upgrade that was cut short, finished first: runc, tool")]


def cluster_of(shape: Topology) -> Cluster:
    return Cluster.model_validate(yaml.safe_load(LAB) | dict(shape.changes))


@pytest.mark.parametrize("shape", TOPOLOGIES, ids=lambda shape: str(shape.name))
def test_in_every_shape_each_host_has_one_turn(shape: Topology) -> None:
    cluster = cluster_of(shape)
    states = {h.name: OsState(f"boot of {h.name}") for h in cluster.machines}
    changes = os_roll.changes(cluster, states, reboot=True, before={})
    assert sorted(c.host for c in changes) == sorted(states)
    assert all(c.phase in os_roll.ROLLS for c in changes)
    assert not os_roll.changes(cluster, states, reboot=False, before={})
    again = os_roll.changes(cluster, states, reboot=True, before=dict.fromkeys(states, "another"))
    assert not again, "all were rebooted since"


def test_a_package_that_asks_for_a_reboot_is_named() -> None:
    cluster = cluster_of(TOPOLOGIES[0])
    host = cluster.machines[0].name
    state = OsState("b", (Newer("tool", "1", "2"), Newer("lib", "", "7")), required=True, by=("linux-image",))
    said = [(c.kind, c.path, c.action, c.reason) for c in os_roll.changes(cluster, {host: state}, reboot=False,
                                                                          before={host: "older"})]
    assert said == [("os-package", "tool", "change", "1 → 2"), ("os-package", "lib", "add", "7, which others need"),
                    ("reboot", "host", "restart", "linux-image asks for it")]
    assert APT.versions(state.newer) == ("tool=2",)


def test_the_newest_roll_alone_says_who_was_rebooted_since_it_began() -> None:
    begin: Act = {"act": "begin", **ROLL}
    boots: Act = {"act": "boots", "boots": {"w1": "old"}}
    ok, failed = ({"act": "end", "status": status} for status in ("ok", "failed"))
    others: list[Act] = [{"act": "begin", "origin": {"verb": "up"}}]
    cases: list[tuple[dict[str, list[Act]], Act]] = [
             ({"1": [begin, boots]}, {"w1": "old"}), ({"1": [begin, boots, failed]}, {"w1": "old"}),
             ({"1": [begin, boots, ok]}, {}), ({"1": [begin, boots], "2": [begin, ok]}, {}),
             ({"2": [begin, boots], "3": others}, {"w1": "old"}), ({}, {})]
    for notes, before in cases:
        assert os_roll.boots_before(notes, {}) == before, notes


@pytest.mark.parametrize("part", [{"only": ["w1"]}, {"until": "control-plane"}, {"without": ["w2"]}])
def test_a_part_that_ended_well_is_gone_on_with_by_more_and_begun_anew_by_the_same(part: dict[str, object]) -> None:
    notes: dict[str, list[Act]] = {"1": [
        {"act": "begin", "options": part, **ROLL}, {"act": "boots", "boots": {"w1": "old"}},
        {"act": "end", "status": "ok"}]}
    assert os_roll.boots_before(notes, {}) == {"w1": "old"}
    assert os_roll.boots_before(notes, part) == {}


@pytest.mark.parametrize(("then", "now", "goes_on"), [
    (["w1"], ["w1", "w2"], True), (["cp2", "w1"], ["w1", "w2"], False), (["w1"], ["w2"], False), ([], ["w1"], False)])
def test_other_hosts_begin_anew(then: list[str], now: list[str], goes_on: bool) -> None:
    notes: dict[str, list[Act]] = {"1": [
        {"act": "begin", "options": {"only": then}, **ROLL}, {"act": "boots", "boots": {"w1": "old"}},
        {"act": "end", "status": "ok"}]}
    assert bool(os_roll.boots_before(notes, {"only": now})) is goes_on


def test_who_was_told_to_reboot_and_not_seen_back_is_known() -> None:
    told: list[Act] = [
        {"act": "begin", **ROLL}, {"act": "reboot", "boots": {"w1": "a"}}, {"act": "back", "hosts": ["w1"]},
        {"act": "reboot", "boots": {"w2": "b", "w3": "c"}}]
    assert os_roll.rebooting({"1": told}) == {"w2": "b", "w3": "c"}
    assert os_roll.rebooting({"1": [*told, {"act": "back", "hosts": ["w2", "w3"]}]}) == {}
