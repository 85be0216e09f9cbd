"""The lock as people meet it: the loser of a race, `status`, and `unlock`, on hosts in memory."""

from __future__ import annotations

import json
import sys

import pytest

from provisioner.orchestrate.lock import cluster_lock, process
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, drift, run, world

__all__ = ["built", "run", "world"]
CPS = ("cp1", "cp2", "cp3")


def held(world: World) -> list[str]:
    return [world.hosts.hosts[name].record.get("run", "") for name in CPS if world.hosts.hosts[name].record.get("held")]


def test_up_while_another_run_works_does_nothing_and_exits_14(built: World, run: Run) -> None:
    drift(built)
    with cluster_lock.look(built.session()).held():
        ended = run("up", "--yes")
        assert len(held(built)) == 3
    assert ended.code == 14
    assert ended.err.startswith("error: cp1, cp2, cp3: taking the lock: held by ")
    assert f"hint: kubewright -i {built.inventory.path} unlock" in ended.err
    assert built.hosts.log == []


def test_up_holds_the_lock_while_it_changes_something_and_gives_it_back(built: World, run: Run) -> None:
    drift(built)
    seen: list[list[str]] = []
    real = built.hosts.apply
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("provisioner.converge.runner.apply", lambda *a, **k: (seen.append(held(built)), real(*a, **k))[1])
        assert run("up", "--yes").code == 0
    assert seen and all(len(names) == 3 for names in seen)
    assert held(built) == []


def test_up_that_has_nothing_to_do_takes_no_lock(built: World, run: Run) -> None:
    before = [dict(built.hosts.hosts[name].record) for name in CPS]
    assert run("up", "--yes").code == 0
    assert [built.hosts.hosts[name].record for name in CPS] == before


def test_reads_go_on_while_a_run_works_and_status_names_it_without_finding_fault(built: World, run: Run) -> None:
    with cluster_lock.look(built.session()).held():
        assert run("plan").code == 0
        ended = run("status")
        assert ended.code == 0
        assert any(line.startswith("Lock     ") and "(run run" in line for line in ended.out.splitlines())
        assert "renewed 0 s ago" in json.loads(run("-o", "json", "status").out)["lock"]
    assert "Lock " not in run("status").out


def test_unlock_shows_whose_it_is_and_takes_it_only_with_a_yes(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster_lock.look(built.session()).held():
        refused = run("unlock")
        assert (refused.code, len(held(built))) == (15, 3)
        assert "is locked by " in refused.err and "last renewed 0 s ago; its process " in refused.err
        assert "unlock --yes" in refused.err
        for stream in (sys.stdin, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("click.confirm", lambda *a, **k: False)
        stays = run("unlock")
        assert (stays.code, len(held(built))) == (0, 3)
        assert run("unlock", "--yes").out == "Cluster lab is unlocked.\n"
        assert held(built) == []
    assert "No run holds the lock" in run("unlock").out


def test_unlock_says_that_a_dead_process_needs_none(built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster_lock.look(built.session()).held():
        monkeypatch.setattr(process, "is_dead", lambda _: True)
        assert "is dead: the next run takes the lock over by itself" in run("unlock").err


def test_unlock_where_no_control_plane_answers_says_so(built: World, run: Run) -> None:
    for name in CPS:
        built.hosts.hosts[name].down = True
    ended = run("unlock", "--yes")
    assert ended.code == 12
    assert "cp1" in ended.err and "no route" in ended.err


def test_unlock_with_a_control_plane_down_is_done_and_says_so(built: World, run: Run) -> None:
    with cluster_lock.look(built.session()).held():
        built.hosts.hosts["cp3"].down = True
        ended = run("unlock", "--yes")
        assert (ended.code, ended.out, held(built)) == (0, "Cluster lab is unlocked.\n", ["run2"])
        assert "cp3" in ended.err and "what is left there binds nobody" in ended.err
        drift(built)
        built.hosts.hosts["cp3"].down = False
        assert run("up", "--yes").code == 0


def test_unlock_that_reaches_a_minority_only_is_not_done(built: World, run: Run) -> None:
    with cluster_lock.look(built.session()).held():
        built.hosts.hosts["cp2"].down = built.hosts.hosts["cp3"].down = True
        ended = run("unlock", "--yes")
    assert (ended.code, ended.out) == (12, "")
