"""`etcd members` on hosts in memory: what is listed, what is ill, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.cli import main as command
from provisioner.model.etcd import Alarm, EtcdStatus
from provisioner.operate import etcd
from provisioner.operate.etcd import EtcdFault
from tests.fakes.session import FakeAccess, World, instant

Call = Callable[..., tuple[int, str]]
Change = Callable[[EtcdStatus], EtcdStatus]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World.make(tmp_path, monkeypatch)
    instant(monkeypatch)
    return made.build(monkeypatch)


@pytest.fixture
def call(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    def no_api(self: FakeAccess) -> None:
        raise AssertionError("etcd members asked the API")

    def ask(*words: str) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["kubewright"])
            patch.setattr(FakeAccess, "kube", no_api)
            code = command.main(["-i", str(world.inventory.path), "etcd", "members", *words])
        return code, capsys.readouterr().out

    return ask


def of_members(monkeypatch: pytest.MonkeyPatch, **changed: Change) -> None:
    """Let what members say be changed, by their hosts."""
    plain = etcd.status

    def status(access: Any, *, timeout: float = 3.0) -> EtcdStatus:
        seen = plain(access, timeout=timeout)
        name = next(m.name for m in seen.members if m.id == seen.member_id)
        return changed[name](seen) if name in changed else seen

    monkeypatch.setattr(etcd, "status", status)


def test_members_are_listed_with_what_each_says_of_itself(
        world: World, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    of_members(monkeypatch, cp1=lambda s: replace(s, db_size=20_000_000, in_use=5_000_000, applied=s.raft_index))
    code, out = call()
    assert code == 0
    first, heads, *rows = out.splitlines()
    assert "healthy" in first and "cluster id" in first
    assert heads.split()[:4] == ["HOST", "MEMBER", "STATE", "VERSION"]
    assert [row.split()[0] for row in rows[:3]] == ["cp1", "cp2", "cp3"]
    assert "20.0 MB (0 %)" in rows[0] and "5.0 MB" in rows[0]
    assert sum(" leader " in row for row in rows) == 1
    assert rows[3] == "Quorum   3 of 3, can lose 1"


def test_what_is_ill_is_named_and_the_exit_code_is_13(
        world: World, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    of_members(monkeypatch, cp2=lambda s: replace(s, raft_index=9000), cp1=lambda s: replace(s, applied=3),
               cp3=lambda s: replace(s, applied=8000))
    monkeypatch.setattr(etcd, "alarms", lambda access: (Alarm(etcd.status(access).member_id, "NOSPACE"),))
    code, out = call("-o", "json")
    seen = json.loads(out)
    assert (code, seen["healthy"]) == (13, False)
    rows = {row["host"]: row for row in seen["members"]}
    assert (rows["cp1"]["lag"], rows["cp3"]["lag"]) == (8997, 1000)
    assert sum(row["alarms"] == ["NOSPACE"] for row in rows.values()) == 1
    assert {(f["check"], f["host"]) for f in seen["findings"]} >= {("etcd-lag", "cp1"), ("etcd-lag", "cp2")}
    assert not any(f["host"] == "cp3" and f["check"] == "etcd-lag" for f in seen["findings"])


def test_a_member_that_does_not_answer_is_down_and_the_others_are_shown(
        world: World, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(seen: EtcdStatus) -> EtcdStatus:
        raise EtcdFault("etcd: asking a member for its status: connection refused")

    of_members(monkeypatch, cp2=fails)
    code, out = call()
    assert code == 13
    row = next(line for line in out.splitlines() if line.startswith("cp2"))
    assert row.split()[:3] == ["cp2", "-", "down"]
    assert "cp2: etcd: asking a member for its status: connection refused" in out
    assert "Quorum   2 of 3, can lose 0" in out
