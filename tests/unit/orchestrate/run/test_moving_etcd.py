"""etcd moves to hosts of its own and back while the cluster serves; nothing is taken out that anybody counts on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from provisioner.errors import RefusedForSafety
from provisioner.orchestrate.phases import membership
from provisioner.orchestrate.plan import owner
from provisioner.orchestrate.plan.members import MOVES
from provisioner.orchestrate.run.options import Intent
from provisioner.report.plan_text import plan_text
from tests.fakes.haproxy import FakeBalancer
from tests.fakes.hosts import FakeHost
from tests.fakes.session import World, instant
from tests.unit.compile.compile_fixture import facts_of
from tests.unit.orchestrate.phases.test_membership_phase import voters
from tests.unit.orchestrate.plan.test_only import ask_for

PLANES = {"cp1": "10.77.0.11", "cp2": "10.77.0.12", "cp3": "10.77.0.13"}
APART = {"e1": "10.77.0.31", "e2": "10.77.0.32", "e3": "10.77.0.33"}
MOVE = Intent(allow=(MOVES,))
SERVERS = "https://10.77.0.31:2379,https://10.77.0.32:2379,https://10.77.0.33:2379"
APISERVER = "/etc/systemd/system/kube-apiserver.service"


def ask(world: World, planes: list[str], apart: list[str] | None) -> None:
    """Write into the inventory which roles the control planes have, and the machines for etcd alone."""
    more: Mapping[str, Any] = {} if apart is None else {
        host: {"address": address, "roles": apart} for host, address in APART.items()}
    ask_for(world, **{host: {"address": address, "roles": planes} for host, address in PLANES.items()}, **more)
    for host in more:
        if host not in world.hosts.hosts:
            world.hosts.hosts[host] = FakeHost(host, facts_of(world.inventory.cluster)[host], {("swap", "swap"): "off"})
            world.hosts.balancers[host] = FakeBalancer(world.hosts.serves)


@pytest.fixture
def moving(built: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster of three stacked members whose inventory has etcd on three machines of their own."""
    instant(monkeypatch)
    ask(built, ["control-plane", "load-balancer"], ["etcd"])
    return built


def servers(world: World, host: str) -> str:
    text = str(world.hosts.hosts[host].extras["file", APISERVER]["text"])
    return text.partition("--etcd-servers=")[2].split()[0].rstrip('"')


def is_apart(world: World) -> None:
    """See that etcd is on its own hosts alone, that every API server speaks to all of them, and nothing is to do."""
    assert voters(world) == dict.fromkeys(APART, False)
    for host in PLANES:
        states = world.hosts.hosts[host].states
        assert ("unit", "etcd.service") not in states and ("file", "/etc/systemd/system/etcd.service") not in states
        assert servers(world, host) == SERVERS
    world.forget()
    assert not world.perform().plan.has_work and world.hosts.log == []


def test_without_a_word_for_it_nothing_moves(moving: World) -> None:
    with pytest.raises(RefusedForSafety) as refused:
        moving.perform()
    assert refused.value.hint.endswith(f"--allow {MOVES}")
    assert not [entry for entry in moving.hosts.log if entry[0] == "apply"]


def test_new_members_vote_then_api_servers_learn_of_them_then_the_old_ones_go_the_leader_last(
        moving: World, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    real = membership.take_out

    def take_out(session: Any, host: str) -> None:
        assert set(APART) <= {n for n, learner in voters(moving).items() if not learner}
        assert {servers(moving, plane) for plane in PLANES} == {SERVERS}, "no API server counts on it"
        assert moving.hosts.hosts[host].states["unit", "etcd.service"].startswith("active")
        assert moving.hosts.leader != host
        taken.append(host)
        real(session, host)

    monkeypatch.setattr(membership, "take_out", take_out)
    done = moving.perform(MOVE)
    assert taken == ["cp2", "cp3", "cp1"], "cp1 led"
    assert [verb for verb, _ in moving.hosts.joins.log] == [*["add", "promote"] * 3, *["remove"] * 3]
    alone = [entry[2] for entry in moving.hosts.log if entry[0] == "apply" and entry[1].startswith("control-plane.")]
    assert alone == [("cp1",), ("cp2",), ("cp3",)]
    text = plan_text(done.plan, moving.inventory.cluster, seconds=1.0)
    assert "e1 joins etcd as a learner" in text and "the etcd member of cp1 is taken out" in text
    is_apart(moving)


@pytest.mark.parametrize(("verb", "before", "nth"), [
    ("add_learner", False, 2), ("promote", False, 1), ("promote", False, 3), ("remove", True, 1), ("remove", False, 1),
    ("remove", False, 3)])
def test_a_run_that_is_killed_while_etcd_moves_is_ended_by_the_same_command(
        moving: World, verb: str, before: bool, nth: int) -> None:
    with moving.hosts.joins.killed_at(verb, before=before, nth=nth):
        moving.perform(MOVE)
    moving.perform(MOVE)
    is_apart(moving)


def test_a_dead_member_keeps_the_others_where_they_are(moving: World) -> None:
    moving.hosts.silent.add("cp3")
    with pytest.raises(RefusedForSafety, match="cp3 does not answer: a new member is added only while every voter is"):
        moving.perform(MOVE)
    assert moving.hosts.joins.log == []


def test_etcd_comes_back_to_the_control_planes_and_the_machines_are_only_prepared(moving: World) -> None:
    moving.perform(MOVE)
    moving.hosts.leader = "e1"
    for host in PLANES:         # with the unit goes its data, which hosts in memory keep
        del moving.hosts.hosts[host].states[owner.MEMBER.kind, owner.MEMBER.path]
    ask(moving, ["etcd", "control-plane", "load-balancer"], [])
    moving.forget()
    moving.perform(MOVE)
    assert voters(moving) == dict.fromkeys(PLANES, False)
    assert {servers(moving, plane) for plane in PLANES} == {"https://127.0.0.1:2379"}
    for host in APART:
        assert ("unit", "etcd.service") not in moving.hosts.hosts[host].states
    moving.forget()
    assert not moving.perform().plan.has_work


def test_a_control_plane_is_not_made_an_etcd_host_in_place_and_the_way_is_named(built: World) -> None:
    ask_for(built, cp3={"address": PLANES["cp3"], "roles": ["etcd"]})
    with pytest.raises(RefusedForSafety, match="take the host out of the file, `kubewright node remove` it") as refused:
        built.perform(MOVE)
    assert refused.value.code == "member-role-removed"
