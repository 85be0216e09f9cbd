"""An etcd member without its data, as people meet it, on hosts in memory."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from provisioner.model.etcd import MemberSeen
from provisioner.orchestrate.plan import owner
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, run, world  # noqa: F401 - fixtures
from tests.unit.cli.test_plan_verbs import pinned  # noqa: F401 - a fixture

MEMBER = (owner.MEMBER.kind, owner.MEMBER.path)
UNIT = ("unit", "etcd.service")


def lost(world: World, state: str, unit: str = "inactive enabled current") -> None:  # noqa: F811
    """Let cp2 have lost its data: nothing is there, or it was started again and ends again and again."""
    cp2 = world.hosts.hosts["cp2"]
    cp2.states.pop(MEMBER, None)
    if state != "absent":
        cp2.states[MEMBER], cp2.extras[MEMBER] = state, {"member": "2"}
    cp2.states[UNIT] = unit
    world.hosts.silent.add("cp2")


@pytest.mark.parametrize(("state", "unit"), [("absent", "inactive enabled current"),
                                             ("empty", "activating enabled current"),
                                             ("empty", "failed enabled current")])
def test_a_member_that_lost_its_data_is_told_as_such_by_every_verb_and_never_started(
        built: World, run: Run, state: str, unit: str) -> None:  # noqa: F811
    lost(built, state, unit)
    plan = run("plan")
    assert "cp2: its etcd member lost its data" in plan.out and "unit etcd.service" not in plan.out
    assert "No changes" not in plan.out
    assert "cp2: its etcd member lost its data" in run("status").out
    up: Any = run("up", "--yes")
    assert up.code == 15 and "cp2: its etcd member lost its data" in up.err and built.hosts.log == []
    assert re.search(r"^hint: kubewright \S+ \S+ node replace cp2$", up.err, re.MULTILINE)
    assert "until that is mended: kubewright node replace cp2" in plan.out
    assert json.loads(run("-o", "json", "plan").out)["lost"] == [
        {"host": "cp2", "saw": "its etcd member lost its data", "cure": ["kubewright node replace cp2"]}]


def test_a_member_with_its_own_data_at_another_address_has_to_be_emptied_before_it_is_replaced(
        built: World, run: Run) -> None:  # noqa: F811
    lost(built, "there", "failed enabled current")
    built.hosts.listed["cp2"] = MemberSeen(2, "cp2", ("https://10.77.0.99:2380",))
    for verb in (("plan",), ("up", "--yes"), ("node", "replace", "cp2", "--yes"), ("status",)):
        said: Any = run(*verb)
        text = said.out + said.err
        assert "the members know it at https://10.77.0.99:2380 and not at https://10.77.0.12:2380" in text
        assert re.search(r"kubewright (-i \S+ )?reset cp2 && kubewright (-i \S+ )?node replace cp2", text), text
    assert built.hosts.log == []


def test_a_member_that_an_operator_has_added_is_started_by_up_and_joins(built: World, run: Run) -> None:  # noqa: F811
    lost(built, "absent")
    built.hosts.listed["cp2"] = MemberSeen(0xB2, "", ("https://10.77.0.12:2380",))
    assert "+ unit etcd.service" in run("plan").out
    built.hosts.silent.clear()
    assert run("up", "--yes").code == 0
    assert built.hosts.hosts["cp2"].states[UNIT].startswith("active ")
    assert built.hosts.hosts["cp2"].states[MEMBER] == "there"
    assert "No changes" in run("plan").out


def test_a_host_with_a_new_disk_is_a_lost_member_before_anything_is_put_on_it(built: World, run: Run) -> None:  # noqa: F811
    cp2 = built.hosts.hosts["cp2"]
    for things in (cp2.states, cp2.extras, cp2.started):
        things.clear()
    built.hosts.listed["cp2"] = MemberSeen(2, "cp2", ("https://10.77.0.12:2380",))
    built.hosts.silent.add("cp2")
    up = run("up", "--yes")
    assert up.code == 15 and "cp2: its etcd member lost its data" in up.err
    assert up.err.count("node replace cp2") == 1
    assert built.hosts.log == []


def test_an_empty_log_of_a_member_that_serves_is_our_reading_and_no_fault(built: World, run: Run) -> None:  # noqa: F811
    built.hosts.hosts["cp2"].states[MEMBER] = "empty"
    assert "No changes" in run("plan").out


def test_two_members_without_data_cannot_be_replaced_one_after_the_other(built: World, run: Run) -> None:  # noqa: F811
    lost(built, "absent")
    built.hosts.hosts["cp3"].states.pop(MEMBER)
    built.hosts.hosts["cp3"].states[UNIT] = "inactive enabled current"
    built.hosts.silent.add("cp3")
    up = run("up", "--yes")
    assert up.code == 15 and "2 etcd members cannot be started" in up.err
    assert "1 of 3 members answer: too few to replace it" in up.err and "node replace" not in up.err
