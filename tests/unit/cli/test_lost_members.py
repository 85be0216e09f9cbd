"""An etcd member without its data, as people meet it, on hosts in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from provisioner.model.etcd import MemberSeen
from provisioner.orchestrate.plan import owner
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, run, world  # noqa: F401 - fixtures
from tests.unit.cli.test_plan_verbs import pinned  # noqa: F401 - a fixture

MEMBER = (owner.MEMBER.kind, owner.MEMBER.path)
UNIT = ("unit", "etcd.service")
ETCDCTL = ("sudo -n etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt "
           "--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt "
           "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key")


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
    key = built.key
    commands = [f"ssh -i {key} admin@10.77.0.11 {ETCDCTL} member remove 2",
                f"ssh -i {key} admin@10.77.0.11 {ETCDCTL} member add cp2 --peer-urls=https://10.77.0.12:2380"]
    there = f"ssh -i {key} admin@10.77.0.12 sudo -n"
    aside = [f"{there} systemctl stop etcd",
             f"{there} mv --backup=numbered -T /var/lib/etcd/member /var/lib/etcd/member.lost"]
    wanted = [*(aside if state != "absent" else []), *commands]
    for text in (up.err, plan.out):
        lines = [line.strip() for line in text.splitlines() if " ssh -i" in line]
        assert [line.removeprefix("Note").strip() for line in lines] == wanted
    assert json.loads(run("-o", "json", "plan").out)["lost"] == [
        {"host": "cp2", "saw": "its etcd member lost its data", "cure": wanted}]


def test_a_member_with_its_own_data_at_another_address_is_told_by_the_one_command_and_no_verb_that_refuses_it(
        built: World, run: Run) -> None:  # noqa: F811
    lost(built, "there", "failed enabled current")
    built.hosts.listed["cp2"] = MemberSeen(2, "cp2", ("https://10.77.0.99:2380",))
    for verb in (("plan",), ("up", "--yes"), ("node", "replace", "cp2", "--yes"), ("status",)):
        said: Any = run(*verb)
        text = said.out + said.err
        assert "the members know it at https://10.77.0.99:2380 and not at https://10.77.0.12:2380" in text
        assert "node replace cp2" not in text and (verb == ("status",) or "member update 2" in text)
    assert built.hosts.log == []


def test_each_command_logs_in_with_the_key_of_its_host(built: World, run: Run) -> None:  # noqa: F811
    document = yaml.safe_load(built.inventory.file.read_text())
    document["hosts"]["cp2"]["ssh"] = {"key": "/keys/of-cp2"}
    built.inventory.file.write_text(yaml.safe_dump(document))
    lost(built, "empty", "failed enabled current")
    plan = run("plan").out
    assert plan.count("ssh -i /keys/of-cp2 admin@10.77.0.12 ") == 2
    assert plan.count(f"ssh -i {built.key} admin@10.77.0.11 ") == 2


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
    assert "member remove 2" in up.err and "member.lost" not in up.err, "there is nothing to move aside"
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
    assert "1 of 3 members answer: too few to replace it" in up.err and "member remove" not in up.err
