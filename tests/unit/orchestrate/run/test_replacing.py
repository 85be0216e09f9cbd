"""`node replace`: the dead member of a host's machine of before is taken out, and the new one's joins."""

from __future__ import annotations

import pytest

from provisioner.errors import RefusedForSafety
from provisioner.model.etcd import MemberSeen
from provisioner.model.observed import ABSENT
from provisioner.orchestrate.plan import owner
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.perform import Performed
from provisioner.report.plan_text import plan_text
from tests.fakes.host import FakeHost
from tests.fakes.session import World, instant
from tests.unit.compile.compile_fixture import facts_of

REPLACE = Intent("node replace", replacing=("cp2",))


def replaced(world: World) -> Performed:
    return world.perform(REPLACE)


@pytest.fixture
def swapped(built: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster whose cp2 is another machine now, an empty one; the others still count on its member."""
    instant(monkeypatch)
    built.hosts.hosts["cp2"] = FakeHost("cp2", facts_of(built.inventory.cluster)["cp2"], {("swap", "swap"): "off"})
    built.hosts.listed["cp2"] = MemberSeen(77, "cp2", ("https://10.77.0.12:2380",))
    return built


def test_the_dead_member_goes_first_and_the_new_one_joins(swapped: World) -> None:
    with pytest.raises(RefusedForSafety, match="cp2: its etcd member lost its data"):
        swapped.perform()
    done = replaced(swapped)
    assert swapped.hosts.joins.log == [("remove", "77"), ("add", "cp2"), ("promote", "cp2")]
    assert [e.status for e in swapped.events if e.type == "availability"] == ["ok"], "it is measured like any change"
    text = plan_text(done.plan, swapped.inventory.cluster, seconds=1.0)
    assert "the etcd member of cp2 is taken out" in text and "cp2 joins etcd as a learner" in text
    swapped.forget()
    assert not swapped.perform().plan.has_work


def test_a_member_that_lost_its_data_loses_what_was_made_since_and_joins_anew(built: World,
                                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    host = built.hosts.hosts["cp2"]
    host.states["unit", "etcd.service"] = "failed enabled current"
    host.states[owner.MEMBER.kind, owner.MEMBER.path] = "empty"
    host.states["tree", owner.MEMBER.path] = "tree 5 0700 etcd:etcd"
    host.extras[owner.MEMBER.kind, owner.MEMBER.path] = {"member": "abc"}
    replaced(built)
    assert built.hosts.joins.log == [("remove", "2"), ("add", "cp2"), ("promote", "cp2")]
    assert host.states.get(("tree", owner.MEMBER.path), ABSENT) == ABSENT


def test_a_member_that_runs_with_its_own_data_is_not_replaced(built: World) -> None:
    with pytest.raises(RefusedForSafety, match="cp2: its etcd member runs with its own data") as refused:
        replaced(built)
    assert refused.value.exit_code == 15 and built.hosts.log == []


def test_a_host_is_not_replaced_where_the_rest_has_no_quorum(swapped: World) -> None:
    swapped.hosts.silent.add("cp3")
    with pytest.raises(RefusedForSafety, match="1 of 3 voters answer; a quorum of 3 needs 2"):
        replaced(swapped)
    assert swapped.hosts.joins.log == []


@pytest.mark.parametrize("verb", ["remove", "add_learner", "promote"])
@pytest.mark.parametrize("before", [True, False])
def test_a_replacement_that_was_killed_is_ended_by_the_same_command(
        swapped: World, verb: str, before: bool) -> None:
    with swapped.hosts.joins.killed_at(verb, before=before):
        replaced(swapped)
    replaced(swapped)
    assert [kind for kind, _ in swapped.hosts.joins.log].count("add") == 1
    swapped.forget()
    assert not swapped.perform().plan.has_work
