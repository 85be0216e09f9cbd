"""Directories moved and removed whole, by a step like any other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import changes, files, states, steps, trees
from provisioner.applier.apply import Run
from provisioner.applier.host import Fault
from tests.unit.applier.support import FakeHost, fresh, unit_change
from tests.unit.applier.test_apply import outcomes, perform
from tests.unit.applier.test_kill import step_that_dies

DATA, ASIDE, NEW = "/var/lib/etcd", "/var/lib/etcd.aside", "/var/lib/etcd.new"


@pytest.fixture
def member(box: FakeHost) -> FakeHost:
    return with_member(box)


def with_member(box: FakeHost) -> FakeHost:
    box.put("/proc/self/mountinfo", "22 1 0:5 / / rw - ext4 /dev/vda rw\n")
    box.put(f"{DATA}/member/wal/0.wal", "old")
    box.put(f"{NEW}/member/wal/0.wal", "new")
    return box


def state(box: FakeHost, path: str) -> str:
    return states.Look(box.host).see({"kind": "tree", "path": path})[0]


def move(box: FakeHost, path: str, to: str) -> dict[str, Any]:
    return {"kind": "tree", "path": path, "action": "move", "to": to, "expect": state(box, path), "want": "absent"}


def removal(box: FakeHost, path: str) -> dict[str, Any]:
    return {"kind": "tree", "path": path, "action": "remove", "expect": state(box, path), "want": "absent"}


def wal(box: FakeHost, path: str) -> str:
    return box.path(f"{path}/member/wal/0.wal").read_text()


def test_a_tree_goes_aside_another_takes_its_place_and_a_second_time_nothing_moves(member: FakeHost) -> None:
    bundle = (move(member, DATA, ASIDE), move(member, NEW, DATA))
    assert outcomes(perform(member, *bundle)) == ["done", "done"]
    assert (wal(member, DATA), wal(member, ASIDE), member.path(NEW).exists()) == ("new", "old", False)
    assert outcomes(perform(member, *bundle)) == ["skipped", "skipped"]
    assert wal(member, DATA) == "new"


def test_the_way_back_is_the_opposite_moves_in_the_opposite_order(member: FakeHost) -> None:
    perform(member, move(member, DATA, ASIDE), move(member, NEW, DATA))
    perform(member, move(member, DATA, NEW), move(member, ASIDE, DATA))
    assert (wal(member, DATA), wal(member, NEW), member.path(ASIDE).exists()) == ("old", "new", False)


def test_a_tree_made_under_the_same_name_since_the_plan_is_not_touched(member: FakeHost) -> None:
    bundle = (removal(member, DATA),)
    member.path(DATA).rename(member.path("/var/lib/meanwhile"))
    member.put(f"{DATA}/member/wal/0.wal", "a new member's")
    run = perform(member, *bundle)
    assert (run.status, wal(member, DATA)) == ("stale", "a new member's")
    assert state(member, DATA) in run.results[0]["detail"]


def test_what_stands_where_a_tree_was_to_go_is_named_and_stays(member: FakeHost) -> None:
    member.put(f"{ASIDE}/member/wal/0.wal", "of last year")
    run = perform(member, move(member, DATA, ASIDE))
    assert (run.status, wal(member, DATA), wal(member, ASIDE)) == ("stale", "old", "of last year")
    assert f"{state(member, ASIDE)} at {ASIDE}" in run.results[0]["detail"]


def test_a_place_that_was_to_be_free_and_is_not_at_its_turn_is_not_moved_over(
        member: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    make = trees.make

    def meddle(host: Any, change: Any) -> str:
        said = make(host, change)
        member.path(DATA).mkdir()       # empty, so a plain rename would go over it
        return said

    bundle = (move(member, DATA, ASIDE), move(member, NEW, DATA))
    monkeypatch.setattr(trees, "make", meddle)
    run = perform(member, *bundle)
    assert outcomes(run) == ["done", "stale"]
    assert (wal(member, NEW), list(member.path(DATA).iterdir())) == ("new", [])


def test_a_tree_is_removed_with_all_that_is_in_it_and_nothing_that_its_links_point_to(member: FakeHost) -> None:
    member.put("/home/precious", "mine")
    member.path(f"{DATA}/link").symlink_to(member.path("/home"))
    bundle = (removal(member, DATA),)
    assert outcomes(perform(member, *bundle)) == ["done"]
    assert not member.path(DATA).exists() and member.path("/home/precious").read_text() == "mine"
    assert outcomes(perform(member, *bundle)) == ["skipped"]


@pytest.mark.parametrize("mounted", [DATA, f"{DATA}/member/wal"])
@pytest.mark.parametrize("act", [removal, lambda box, path: move(box, path, ASIDE)], ids=["remove", "move"])
def test_what_is_mounted_in_a_tree_keeps_it_where_it_is(member: FakeHost, act: Any, mounted: str) -> None:
    member.put("/proc/self/mountinfo", f"22 1 0:5 / / rw - ext4 /dev/vda rw\n23 22 0:6 / {mounted} rw - ext4 x rw\n")
    run = perform(member, act(member, DATA))
    assert (run.status, wal(member, DATA)) == ("failed", "old")
    assert f"{mounted} is mounted" in run.results[0]["detail"]


def test_a_mount_point_with_a_blank_in_its_name_is_read_as_the_kernel_writes_it(member: FakeHost) -> None:
    member.put("/srv/a b/c", "x")
    member.put("/proc/self/mountinfo", "23 22 0:6 / /srv/a\\040b rw - ext4 x rw\n")
    assert "/srv/a b is mounted" in perform(member, removal(member, "/srv/a b")).results[0]["detail"]


def test_where_it_cannot_be_known_what_is_mounted_nothing_is_removed(member: FakeHost) -> None:
    member.path("/proc/self/mountinfo").unlink()
    run = perform(member, removal(member, DATA))
    assert (run.status, wal(member, DATA)) == ("failed", "old")


def test_another_file_system_is_refused_before_anything_moves(
        member: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def stat(path: Any, **more: Any) -> os.stat_result:
        found = real(path, **more)
        there = str(path) == str(member.path("/mnt"))
        return os.stat_result([*found[:2], found.st_dev + 1, *found[3:]]) if there else found

    member.path("/mnt").mkdir()
    monkeypatch.setattr(os, "stat", stat)
    run = perform(member, move(member, DATA, ASIDE), move(member, NEW, "/mnt/etcd"))
    assert outcomes(run) == ["untouched", "failed"]
    assert "/mnt are on two file systems" in run.results[1]["detail"]
    assert wal(member, DATA) == "old"


def test_a_move_into_a_directory_that_is_not_there_is_refused(member: FakeHost) -> None:
    run = perform(member, move(member, DATA, "/srv/none/etcd"))
    assert (run.status, run.results[0]["detail"]) == (
        "failed", "/srv/none does not exist; a tree moves into a directory that is there")


@pytest.mark.parametrize(("more", "words"), [
    ({"to": f"{DATA}/inside"}, "inside itself"), ({"to": "relative"}, "not a plain absolute path"),
    ({"expect": ""}, "which one is not said"), ({"action": "copy"}, "cannot 'copy' it here"),
    ({"want": "tree 1"}, "the plan showed 'tree 1'"),
])
def test_an_order_that_says_too_little_is_refused(member: FakeHost, more: dict[str, str], words: str) -> None:
    with pytest.raises(Fault, match=words):
        changes.check(member.host, {**move(member, DATA, ASIDE), **more})


@pytest.mark.parametrize(("path", "seen"), [("/etc/file", "other file"), ("/etc/link", "other symlink"),
                                            ("/etc/none", "absent")])
def test_only_a_directory_is_a_tree(box: FakeHost, path: str, seen: str) -> None:
    box.put("/etc/file", "x")
    box.path("/etc/link").symlink_to(box.path("/etc"))
    assert state(box, path) == seen


def test_a_preview_says_what_would_move_and_moves_nothing(member: FakeHost) -> None:
    run = Run(member.host, "s", [move(member, DATA, ASIDE), removal(member, NEW)])
    run.preview()
    assert [r["detail"] for r in run.results] == [f"move to {ASIDE}", "remove"]
    assert (wal(member, DATA), wal(member, NEW)) == ("old", "new")


def restored(box: FakeHost) -> list[dict[str, Any]]:
    """Return what a restore asks for: the member stopped, its data aside, the new in place, an old copy gone."""
    box.put("/var/lib/etcd.last-year/a/b/c", "x")
    box.set_units(etcd={"ActiveState": "active", "UnitFileState": "enabled"})
    return [unit_change("etcd.service", [], "stop"), move(box, DATA, ASIDE), move(box, NEW, DATA),
            removal(box, "/var/lib/etcd.last-year"), unit_change("etcd.service", [], "start")]


@pytest.mark.parametrize("stride", [pytest.param(1, marks=[pytest.mark.full, pytest.mark.timeout(600)]), 3])
def test_a_step_killed_at_any_touch_leaves_each_tree_whole_and_the_same_step_again_ends_it(
        box: FakeHost, tmp_path: Path, stride: int) -> None:
    died = 0
    for at in range(0, 200, stride):
        scene = with_member(fresh(tmp_path, at))
        bundle = restored(scene)
        killed = step_that_dies(scene, bundle, at)
        died += killed
        assert sorted(wal(scene, place) for place in (DATA, ASIDE, NEW) if scene.path(place).exists()) == ["new", "old"]
        assert not scene.path("/var/lib/etcd.last-year").exists() or (
            scene.path("/var/lib/etcd.last-year/a/b/c").read_text() == "x"), "half removed under its own name"
        if killed:
            files.write_json(f"{steps.directory(scene.host, 's')}/request.json", {"changes": bundle})
            steps.run(scene.host, "s")
        assert (wal(scene, DATA), wal(scene, ASIDE)) == ("new", "old")
        assert steps.result_of(scene.host, "s")["status"] == "done"     # type: ignore[index]
        assert scene.unit("etcd.service")["ActiveState"] == "active"
        assert not scene.path("/var/lib/etcd.last-year").exists() and scene.leftovers() == []
        if not killed:
            break
    assert died >= 4


def test_what_is_left_of_a_removal_that_died_for_good_is_swept_by_the_next_step(
        box: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "ORPHAN_SECONDS", -1)
    left = 0
    for at in range(60):
        root = tmp_path / f"root{at}"
        root.mkdir()
        scene = with_member(FakeHost(root, box.systemd))
        if not step_that_dies(scene, [removal(scene, DATA)], at):
            break
        hidden = scene.path("/var/lib/.etcd.kubewright-tmp")
        left += hidden.exists()
        steps._drop_orphans(scene.host, "next")
        assert not hidden.exists(), at
    assert left > 1
