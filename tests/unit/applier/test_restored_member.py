"""The changes by which a restore makes and swaps a member, as the real applier takes them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from provisioner.applier import states
from provisioner.converge.bundle import change_request
from provisioner.model.desired import Artifact, Program, Tree
from provisioner.model.observed import ABSENT
from provisioner.model.plan import Change
from provisioner.orchestrate.phases import restoring
from tests.unit.applier.support import ME, US, FakeHost
from tests.unit.applier.test_apply import outcomes, perform

TOOL = "/opt/kubewright/etcd/3.6-12345678/etcdutl"
ASIDE = f"{restoring.MEMBER}.before-run"


@pytest.fixture
def member(box: FakeHost) -> FakeHost:
    box.put("/proc/self/mountinfo", "22 1 0:5 / / rw - ext4 /dev/vda rw\n")
    box.put(f"{restoring.MEMBER}/snap/db", "old")
    box.put(TOOL, f"#!/bin/sh\nmkdir -p {box.root}/{restoring.MADE}/member/snap\n"
                  f"test ! -e {box.root}/{restoring.MADE}/member/snap/db || exit 1\n"
                  f"echo new > {box.root}/{restoring.MADE}/member/snap/db\n", 0o755)
    return box


def made(box: FakeHost, changes: list[Change]) -> list[str]:
    return outcomes(perform(box, *(change_request(c, lambda name: b"", lambda item: (b"", b"")) for c in changes)))


def seen(box: FakeHost) -> dict[str, dict[str, str]]:
    paths = (restoring.MEMBER, restoring.MADE, f"{restoring.MADE}/member")
    look = states.Look(box.host)
    return {"cp1": {path: look.see({"kind": "tree", "path": path})[0] for path in paths}}


def run_of(box: FakeHost) -> Change:
    item: Any = Program(path=TOOL, phase="etcd", argv=("snapshot", "restore"), seconds=20, owner=ME, group=US)
    state = states.Look(box.host).see({"kind": "artifact", "path": TOOL})[0]
    return restoring._change("cp1", "etcd", item, "run", "made", state, "exit 0")


def test_a_member_is_made_beside_the_old_one_swapped_with_it_and_what_is_left_is_removed(member: FakeHost) -> None:
    data = b"snapshot"
    item = Artifact(path="/var/lib/etcd/restore-1.db", phase="etcd", sha256=hashlib.sha256(data).hexdigest(),
                    size=len(data), name="snapshot", version="", mode=0o644)
    head = {"path": item.path, "sha256": item.sha256, "size": item.size, "mode": item.mode}
    member.call("store", {"artifacts": [head], "epoch": None}, data)
    assert made(member, [run_of(member)]) == ["done"]
    there = seen(member)
    swap = [*restoring._move("cp1", restoring.MEMBER, ASIDE, there),
            *restoring._move("cp1", f"{restoring.MADE}/member", restoring.MEMBER, there)]
    assert made(member, swap) == ["done", "done"]
    assert (member.path(f"{restoring.MEMBER}/snap/db").read_text(), member.path(f"{ASIDE}/snap/db").read_text()) == (
        "new\n", "old")
    state = states.Look(member.host).see({"kind": "artifact", "path": item.path})[0]
    assert state.startswith(item.want().rpartition(" ")[0]), "as it is expected when it is removed"
    clear = [restoring._change("cp1", "etcd", item, "remove", "restored", state, ABSENT),
             *restoring._without_made("cp1", seen(member))]
    assert made(member, clear) == ["done", "done"]
    assert sorted(p.name for p in member.path("/var/lib/etcd").iterdir()) == ["member", "member.before-run"]


def test_what_a_killed_run_left_is_removed_before_a_member_is_made_anew(member: FakeHost) -> None:
    member.put(f"{restoring.MADE}/member/snap/db", "of a killed run")
    assert made(member, [run_of(member)]) == ["failed"]
    assert made(member, [*restoring._without_made("cp1", seen(member)), run_of(member)]) == ["done", "done"]
    assert member.path(f"{restoring.MADE}/member/snap/db").read_text() == "new\n"
    assert Tree(path="/x", phase="etcd").want() is None
