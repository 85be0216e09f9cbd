"""New members join in a run of `up`: one at a time, after their record, promoted once they run; a killed one resumes.
"""

from __future__ import annotations

import pytest

from provisioner.compile.etcd import BOOTSTRAP_ENV, JOINING
from provisioner.errors import GateFailed, RefusedForSafety
from provisioner.model.observed import ABSENT
from provisioner.operate import etcd_membership
from provisioner.orchestrate.plan.survey import survey
from provisioner.report.plan_text import plan_text
from tests.fakes.haproxy import FakeBalancer
from tests.fakes.host import FakeHost
from tests.fakes.session import World, instant
from tests.unit.compile.compile_fixture import facts_of
from tests.unit.orchestrate.plan.test_only import ask_for

NEW = {"cp4": "10.77.0.14", "cp5": "10.77.0.15"}
PLANES = ("cp1", "cp2", "cp3", *NEW)


@pytest.fixture
def grown(built: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster whose inventory has got two more control planes, on empty machines."""
    instant(monkeypatch)
    ask_for(built, **{host: {"address": a, "roles": ["etcd", "control-plane", "load-balancer"]}
                      for host, a in NEW.items()})
    for host in NEW:
        built.hosts.hosts[host] = FakeHost(host, facts_of(built.inventory.cluster)[host], {("swap", "swap"): "off"})
        built.hosts.balancers[host] = FakeBalancer(built.hosts.serves)
    return built


def voters(world: World) -> dict[str, bool]:
    return {m.name: m.is_learner for m in world.hosts.joins.members or ()}


def is_settled(world: World) -> None:
    """See that all vote, that no host keeps a record of the join, and that a second run has nothing to do."""
    assert voters(world) == dict.fromkeys(PLANES, False)
    for host in PLANES:
        assert world.hosts.hosts[host].file(JOINING) == world.hosts.hosts[host].file(BOOTSTRAP_ENV) == ABSENT
    world.forget()
    again = world.perform()
    assert not again.plan.has_work and world.hosts.log == []


def test_two_new_control_planes_join_one_after_the_other_and_a_second_run_is_empty(grown: World) -> None:
    done = grown.perform()
    assert grown.hosts.joins.log == [("add", "cp4"), ("promote", "cp4"), ("add", "cp5"), ("promote", "cp5")]
    text = plan_text(done.plan, grown.inventory.cluster, seconds=1.0)
    assert "cp4 joins etcd as a learner, without a vote" in text
    assert "etcd: 3 voters (quorum 2, can lose 1) become 5 voters (quorum 3, can lose 2)" in text
    steps = [step for kind, step, *_ in grown.hosts.log if kind == "apply"]
    assert steps.index("etcd.joining") < steps.index("etcd.join-cp4") < steps.index("etcd.join-cp5")
    is_settled(grown)


def test_a_member_starts_with_the_list_of_the_moment_and_its_api_server_after_it_votes(
        grown: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    real = etcd_membership.promote

    def promote(access: object, member: int, **rest: float) -> None:
        told.append(str(grown.hosts.hosts["cp4"].extras["file", BOOTSTRAP_ENV]["text"]))
        assert ("unit", "kube-apiserver.service") not in grown.hosts.hosts["cp4"].states
        real(access, member, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(etcd_membership, "promote", promote)
    grown.perform()
    assert told[0] == (
        "ETCD_INITIAL_CLUSTER=cp1=https://10.77.0.11:2380,cp2=https://10.77.0.12:2380,cp3=https://10.77.0.13:2380,"
        "cp4=https://10.77.0.14:2380\nETCD_INITIAL_CLUSTER_STATE=existing\n"), "cp5 is no member yet"


@pytest.mark.parametrize("answer", [
    ("promote", "etcdserver: can only promote a learner member which is in sync with leader", False),
    ("promote", "deadline exceeded", True),         # promoted, and the client saw an error
    ("promote", "etcdserver: leader changed", False),
    ("add", "etcdserver: unhealthy cluster", False),
    ("add", "deadline exceeded", True),             # added, and the client saw an error
])
def test_an_answer_that_was_lost_or_came_too_early_is_asked_for_again_and_nothing_is_done_twice(
        grown: World, answer: tuple[str, str, bool]) -> None:
    grown.hosts.joins.says.append(answer)
    grown.perform()
    done = [entry for entry in grown.hosts.joins.log if entry == (answer[0], "cp4")]
    assert len(done) == (1 if answer[2] else 2)
    is_settled(grown)


def test_a_learner_that_does_not_start_is_never_promoted_and_is_removed_again(grown: World) -> None:
    grown.hosts.joins.never_starts.add("cp4")
    with pytest.raises(GateFailed, match="it has not started yet") as failed:
        grown.perform()
    assert "it never had a vote, and was removed again" in " ".join(failed.value.details)
    assert grown.hosts.joins.log == [("add", "cp4"), ("remove", "6")]
    assert voters(grown) == dict.fromkeys(PLANES[:3], False)


@pytest.mark.parametrize("verb", ["add_learner", "promote"])
@pytest.mark.parametrize("before", [True, False])
def test_a_run_that_was_killed_at_an_act_is_ended_by_the_next(
        grown: World, verb: str, before: bool) -> None:
    with grown.hosts.joins.killed_at(verb, before=before):
        grown.perform()
    grown.perform()
    assert [host for kind, host in grown.hosts.joins.log if kind == "add"] == list(NEW)
    is_settled(grown)


def test_a_learner_that_died_after_it_was_in_sync_is_started_before_it_votes(grown: World) -> None:
    with grown.hosts.joins.killed_at("promote", before=True):
        grown.perform()
    grown.hosts.hosts["cp4"].states["unit", "etcd.service"] = "failed enabled current"
    del grown.hosts.log[:]
    grown.perform()
    steps = [step for kind, step, *_ in grown.hosts.log if kind == "apply"]
    assert "etcd.learner-cp4" in steps
    assert grown.hosts.hosts["cp4"].states["unit", "etcd.service"].startswith("active")
    is_settled(grown)


def test_a_balancer_that_only_its_package_brought_keeps_no_other_from_being_changed(grown: World) -> None:
    """As where a run was killed behind the packages of hosts that join."""
    for host in NEW:
        grown.hosts.hosts[host].states["unit", "haproxy.service"] = "inactive disabled stale"
    with grown.session() as session:
        survey(session)
        assert session.has_begun("cp1", "haproxy.service")
        assert not any(session.has_begun(host, "haproxy.service") for host in NEW)
    grown.perform()
    is_settled(grown)


def test_a_dead_learner_is_never_promoted_however_much_of_the_log_it_had(grown: World) -> None:
    with grown.hosts.joins.killed_at("promote", before=True):
        grown.perform()
    grown.hosts.silent.add("cp4")
    with pytest.raises(GateFailed, match="connection refused") as failed:
        grown.perform()
    assert "it never had a vote, and was removed again" in " ".join(failed.value.details)
    assert ("promote", "cp4") not in grown.hosts.joins.log
    assert voters(grown) == dict.fromkeys(PLANES[:3], False)


def test_what_a_killed_run_added_for_a_host_that_left_the_inventory_since_is_removed(grown: World) -> None:
    with grown.hosts.joins.killed_at("add_learner", before=False):
        grown.perform()
    leave(grown, *NEW)
    done = grown.perform()
    assert "the learner https://10.77.0.14:2380, which a killed run added, is taken out" in plan_text(
        done.plan, grown.inventory.cluster, seconds=1.0)
    assert grown.hosts.joins.log == [("add", "cp4"), ("remove", "6")]
    assert voters(grown) == dict.fromkeys(PLANES[:3], False)


def leave(world: World, *hosts: str) -> None:
    """Take hosts out of the inventory, as a person does."""
    from dataclasses import replace

    import yaml

    from provisioner.model.cluster import Cluster

    text = yaml.safe_load(world.inventory.file.read_text())
    text["hosts"] = {name: spec for name, spec in text["hosts"].items() if name not in hosts}
    world.inventory.file.write_text(yaml.safe_dump(text, sort_keys=False))
    world.inventory = replace(world.inventory, cluster=Cluster.model_validate(text))


def test_a_learner_that_somebody_else_added_is_named_and_left_alone(grown: World) -> None:
    etcd_membership.add_learner(grown.session().access.etcd("cp1"), "https://10.77.0.14:2380")
    grown.hosts.joins.log.clear()
    leave(grown, "cp4", "cp5")
    ask_for(grown, cp6={"address": "10.77.0.16", "roles": ["etcd", "control-plane"]},
            cp7={"address": "10.77.0.17", "roles": ["etcd", "control-plane"]})
    for host in ("cp6", "cp7"):
        grown.hosts.hosts[host] = FakeHost(host, facts_of(grown.inventory.cluster)[host], {("swap", "swap"): "off"})
    with pytest.raises(RefusedForSafety, match="nothing here says that we added it"):
        grown.perform()
    assert grown.hosts.joins.log == []


def test_nobody_joins_while_a_voter_does_not_answer(grown: World) -> None:
    grown.hosts.silent.add("cp2")
    with pytest.raises(RefusedForSafety, match="a new member is added only while every voter is well"):
        grown.perform()
    assert grown.hosts.joins.log == [] and not [e for e in grown.hosts.log if e[0] == "apply"]
