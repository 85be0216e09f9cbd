"""`upgrade --os` on hosts in memory: who goes when, what is held meanwhile, and how a roll is gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.artifacts.lockfile import write_lock
from provisioner.errors import GateFailed, PlanStale, RefusedForSafety, Unreachable
from provisioner.model.etcd import Alarm
from provisioner.model.os_state import Newer, OsState
from provisioner.operate import drain
from provisioner.orchestrate.plan import saved
from provisioner.orchestrate.run.look_ahead import look_at_systems
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.perform import Performed
from provisioner.orchestrate.turn import reboot
from provisioner.report.os_text import roll_text
from provisioner.report.plan_text import plan_json
from tests.fakes.session import World

ALL = ("cp1", "cp2", "cp3", "w1", "w2")
TOOL = Newer("tool", "1", "2")


def roll(world: World, **options: object) -> Performed:
    return world.perform(Intent("upgrade --os", **options))    # type: ignore[arg-type]


def rebooted(world: World) -> list[str]:
    return [row[1] for row in world.hosts.systems.log if row[0] == "reboot"]


def cordoned(world: World) -> list[str]:
    return [path.rpartition("/")[2] for path, node in world.api.objects.items()
            if path.startswith("/api/v1/nodes/") and node.get("spec", {}).get("unschedulable")]


def test_each_host_is_rebooted_alone_and_the_one_that_others_depend_on_is_the_last_control_plane(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    built.hosts.leader = "cp2"
    held: list[tuple[str, list[str], list[str], str]] = []
    ran = built.hosts.systems.ran

    def see(host: str, argv: list[str]) -> bool:
        out = [name for name, admin in built.hosts.balancers["w1"].states.items() if admin != "ready"]
        held.append((host, out, cordoned(built), built.hosts.leader))
        return ran(host, argv)

    monkeypatch.setattr(built.hosts.systems, "ran", see)
    roll(built, reboot=True)
    assert rebooted(built) == ["cp3", "cp1", "cp2", "w1", "w2"], "cp1 has the VIP, cp2 leads"
    assert all(out == ([host] if host.startswith("cp") else []) for host, out, _, _ in held)
    assert all(nodes == [host] and leader != host for host, _, nodes, leader in held)
    assert cordoned(built) == [] and [e.status for e in built.events if e.type == "availability"] == ["ok"]
    assert not any(admin != "ready" for one in built.hosts.balancers.values() for admin in one.states.values())


def test_only_what_is_due_is_done_and_the_second_run_has_nothing(built: World) -> None:
    built.hosts.systems.states = {
        "w1": OsState("boot-1-of-w1", (TOOL,), held=("runc",)), "cp1": OsState("boot-1-of-cp1", required=True),
        "w2": OsState("boot-1-of-w2", (TOOL, Newer("lib", "", "7")), automatic=frozenset({"tool"}))}
    built.hosts.systems.asks = {"w2"}
    done = roll(built)
    assert built.hosts.systems.log == [("reboot", "cp1"), ("packages", "w1", "tool=2"), ("packages", "w2", "tool=2"),
                                       ("marks", "w2", "auto", "tool"), ("reboot", "w2")], (
        "what comes anew comes as others need it")
    assert {(c.host, c.path) for c in done.plan.changes} == {
        ("w1", "tool"), ("cp1", "host"), ("w2", "tool"), ("w2", "lib")}
    assert not roll(built).plan.has_work


def test_a_newer_systemd_does_not_keep_apt_from_being_told_what_is_its_own(built: World) -> None:
    newer = (TOOL, Newer("systemd", "252", "253"))
    built.hosts.systems.states = {"w1": OsState("boot-1-of-w1", newer, automatic=frozenset({"tool"}))}
    roll(built)
    assert built.hosts.systems.log == [("packages", "w1", "tool=2", "systemd=253"), ("marks", "w1", "auto", "tool")]


def test_a_host_without_a_row_is_told_by_the_manager_that_it_asks_itself(built: World) -> None:
    one = built.hosts.hosts["w1"]
    one.facts = replace(one.facts, os_id="fedora", os_version="42", manager="dnf")
    built.hosts.systems.states = {"w1": OsState("boot-1-of-w1", (TOOL,), automatic=frozenset({"tool"}))}
    roll(built)
    assert built.hosts.systems.log == [("packages", "w1", "tool-2")], "as dnf writes it, and without apt-mark"


def test_the_plan_says_by_host_what_would_change_and_touches_nothing(built: World) -> None:
    built.hosts.systems.states = {"w1": OsState("boot-1-of-w1", (TOOL,), held=("runc",)),
                                  "cp2": OsState("boot-1-of-cp2", required=True, by=("linux-image",))}
    found, command = look_at_systems(built.inventory, Intent("upgrade --os"), built.events.append)
    assert command == "kubewright upgrade --os"
    text = roll_text(found, built.inventory.cluster, seconds=1)
    for words in ("os-package tool", "1 → 2", "linux-image asks for it", "w1: held, and left as they are: runc",
                  "control-plane", "1 host rebooted", "the VIP moves once"):
        assert words in text, text
    assert built.hosts.log == [] and built.hosts.systems.log == []
    built.hosts.systems.states = {}
    found, _ = look_at_systems(built.inventory, Intent("upgrade --os"), built.events.append)
    assert roll_text(found, built.inventory.cluster, seconds=1).startswith("Nothing is due")


def kept(world: World, directory: Path, **options: object) -> Path:
    """Keep a plan of a roll, as `upgrade --os --plan --out FILE` does."""
    found, _ = look_at_systems(world.inventory, Intent("upgrade --os", **options),  # type: ignore[arg-type]
                               world.events.append)
    world.inventory.artifacts_lock_path.parent.mkdir(parents=True, exist_ok=True)
    write_lock(world.inventory.artifacts_lock_path, world.hosts.lock)
    saved.write(directory / "roll.json", plan_json(found, world.inventory.cluster))
    return directory / "roll.json"


def test_a_kept_roll_is_done_exactly_so_or_not_at_all(built: World, tmp_path: Path) -> None:
    built.hosts.systems.states = {"w1": OsState("boot-1-of-w1", (TOOL,))}
    file = kept(built, tmp_path)
    built.hosts.systems.states["w1"] = OsState("boot-1-of-w1", (Newer("tool", "1", "3"),))
    with pytest.raises(PlanStale, match="nothing was changed") as moved:
        roll(built, plan_file=file)
    assert moved.value.details == ("w1: os-package tool: the plan says change, 1 → 2; now it is change, 1 → 3",)
    assert moved.value.hint == f"kubewright upgrade --os --plan --out {file}"
    assert built.hosts.systems.log == []
    built.hosts.systems.states["w1"] = OsState("boot-1-of-w1", (TOOL,))
    roll(built, plan_file=file)
    assert built.hosts.systems.log == [("packages", "w1", "tool=2")]


def test_a_kept_roll_with_reboots_is_refused_where_a_host_has_rebooted_since(built: World, tmp_path: Path) -> None:
    file = kept(built, tmp_path, reboot=True, only=("w1",))
    built.hosts.systems.states["w1"] = OsState("boot-2-of-w1")
    with pytest.raises(PlanStale) as moved:
        roll(built, plan_file=file, reboot=True, only=("w1",))
    assert moved.value.details == ("w1: reboot host: the plan saw 'boot-1-of-w1', found 'boot-2-of-w1'",)
    assert built.hosts.systems.log == []


def test_a_host_that_is_not_back_is_named_stops_the_run_and_stays_cordoned_where_it_is_not_ready(built: World) -> None:
    built.hosts.systems.stuck = {"cp3"}
    with pytest.raises(GateFailed, match="cp3: rebooting: not back after 30 s") as late:
        roll(built, reboot=True, boot_timeout=30.0)
    assert rebooted(built) == ["cp2", "cp3"] and late.value.code == "not-back"
    assert any("still serve: API servers cp1, cp2; etcd members cp1, cp2" in line for line in late.value.details)
    assert "kubewright upgrade --os --reboot" in late.value.hint


def test_what_a_stopped_roll_did_is_not_done_again_and_a_whole_one_begins_anew(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    built.hosts.systems.stuck = {"w1"}
    with pytest.raises(GateFailed):
        roll(built, reboot=True, boot_timeout=30.0)
    assert rebooted(built) == ["cp2", "cp3", "cp1", "w1"]
    built.hosts.systems.stuck, built.hosts.systems.log[:] = set(), []
    done = roll(built, reboot=True)
    assert rebooted(built) == ["w1", "w2"] and cordoned(built) == []
    assert any("rebooted already by the roll that goes on here" in v.sentence for v in done.plan.verdicts)
    built.hosts.systems.log[:] = []
    roll(built, reboot=True)
    assert len(rebooted(built)) == len(ALL)


def test_a_host_that_an_ended_run_told_to_reboot_is_waited_for(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    roll(built, reboot=True, only=("w1",))
    for host in ("cp1", "cp2", "cp3"):      # as if it had been killed before it saw w1 again
        for run, acts in built.hosts.hosts[host].notes.items():
            built.hosts.hosts[host].notes[run] = [a for a in acts if a["act"] not in ("back", "end")]
    built.hosts.hosts["w1"].down = True
    seen: list[str] = []

    def comes_back(one: object) -> str:
        seen.append("asked")
        if len(seen) < 5:
            raise Unreachable("w1: connecting: no route")
        built.hosts.hosts["w1"].down = False
        return "boot-2-of-w1"

    monkeypatch.setattr(reboot, "_boot", comes_back)
    done = roll(built, reboot=True, only=("w1",))
    assert len(seen) >= 5 and not [c for c in done.plan.changes if c.host == "w1"], "it was rebooted, and is so once"
    built.hosts.hosts["w2"].down = True
    with pytest.raises(Unreachable, match="w2"):        # nobody told that one to reboot
        roll(built, reboot=True, only=("w1",))


def test_until_is_a_pause_behind_the_control_planes(built: World) -> None:
    roll(built, reboot=True, until="control-plane")
    assert rebooted(built) == ["cp2", "cp3", "cp1"]
    roll(built, reboot=True)
    assert rebooted(built) == ["cp2", "cp3", "cp1", "w1", "w2"], "and then it goes on"
    roll(built, reboot=True)
    assert len(rebooted(built)) == 2 * len(ALL), "and begins anew"


def test_where_nothing_of_a_roll_was_left_the_next_begins_anew(built: World) -> None:
    roll(built, reboot=True)
    for host in ("cp1", "cp2", "cp3"):      # as if it had been killed at its very end
        for run, acts in built.hosts.hosts[host].notes.items():
            built.hosts.hosts[host].notes[run] = [a for a in acts if a["act"] != "end"]
    assert not roll(built, reboot=True).plan.has_work
    roll(built, reboot=True)
    assert len(rebooted(built)) == 2 * len(ALL)


def test_a_cordon_that_a_killed_roll_left_is_undone(built: World) -> None:
    drain.cordon(built.kube(), "w2", "upgrade --os by somebody")
    roll(built)
    assert cordoned(built) == []


def test_another_cordon_stays(built: World) -> None:
    built.api.objects["/api/v1/nodes/w2"]["spec"]["unschedulable"] = True
    roll(built, reboot=True, only=("w2",))
    assert rebooted(built) == ["w2"] and cordoned(built) == ["w2"]


@pytest.mark.parametrize("waits", [OsState("boot-1-of-w1", (TOOL,)), OsState("boot-1-of-w1", required=True)])
def test_nothing_is_begun_while_etcd_is_out_of_space(built: World, waits: OsState) -> None:
    built.hosts.systems.states = {"w1": waits}
    built.hosts.alarms = [Alarm(2, "NOSPACE")]
    with pytest.raises(RefusedForSafety, match="restarting nothing: cp2: etcd is out of space"):
        roll(built)
    assert built.hosts.systems.log == [] and cordoned(built) == []


def test_nothing_is_begun_where_a_member_does_not_serve(built: World) -> None:
    built.hosts.silent.add("cp3")
    with pytest.raises(GateFailed, match="cp3"):
        roll(built, reboot=True, only=("cp1",))
    assert rebooted(built) == [] and cordoned(built) == []
