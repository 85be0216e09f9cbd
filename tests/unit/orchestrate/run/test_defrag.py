"""`etcd defrag` and `etcd recover` on hosts in memory: who goes when, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import KubewrightError, RefusedForSafety
from provisioner.model.etcd import Alarm, EtcdStatus, MemberSeen
from provisioner.operate import etcd
from provisioner.orchestrate.look import snapshots as look
from provisioner.orchestrate.plan import owner
from provisioner.orchestrate.run import recover, restore
from provisioner.orchestrate.run.options import Intent
from tests.fakes.session import World


@pytest.fixture
def defragmented(built: World, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, frozenset[str]]]:
    """Return who was defragmented, who led then, and which API servers were out of service at the first HAProxy."""
    done: list[tuple[str, str, frozenset[str]]] = []

    def defragment(access: Any, *, timeout: float) -> None:
        assert timeout > 60
        servers = built.hosts.balancers["cp1"].states
        done.append((access.address[0], built.hosts.leader,
                     frozenset(name for name, admin in servers.items() if admin != "ready")))

    monkeypatch.setattr(etcd, "defragment", defragment)
    return done


def test_the_leader_is_last_has_handed_over_and_each_api_server_is_out_of_service_meanwhile(
        built: World, defragmented: list[tuple[str, str, frozenset[str]]]) -> None:
    built.hosts.leader = "cp1"
    built.perform(Intent("etcd defrag"))
    assert [host for host, _, _ in defragmented] == ["cp2", "cp3", "cp1"]
    assert all(host != leader for host, leader, _ in defragmented)
    assert all(out == {host} for host, _, out in defragmented)
    assert not any(admin != "ready" for one in built.hosts.balancers.values() for admin in one.states.values())


def test_the_alarm_is_ended_where_there_is_room_again_and_only_there(
        built: World, defragmented: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Alarm] = []
    monkeypatch.setattr(etcd, "disarm", lambda access, alarm: ended.append(alarm))
    built.hosts.alarms = [Alarm(1, "NOSPACE"), Alarm(2, "CORRUPT")]
    built.hosts.size = 8 * 1024**3
    built.perform(Intent("etcd defrag"))
    assert ended == []
    built.hosts.size = 1_000_000
    built.perform(Intent("etcd defrag"))
    assert ended == [Alarm(1, "NOSPACE")]


def test_none_is_taken_away_while_another_does_not_answer(built: World, defragmented: list[Any]) -> None:
    built.hosts.silent.add("cp3")
    with pytest.raises(KubewrightError):
        built.perform(Intent("etcd defrag"))
    assert defragmented == []


def leaderless(world: World, monkeypatch: pytest.MonkeyPatch, there: set[str]) -> None:
    """Let only cp2 answer, without a leader, and let `there` be the hosts with data."""
    plain = etcd.status

    def status(access: Any, *, timeout: float = 3.0) -> EtcdStatus:
        return replace(plain(access, timeout=timeout), leader_id=0)

    monkeypatch.setattr(etcd, "status", status)
    world.hosts.silent |= {"cp1", "cp3"}
    for name in ("cp1", "cp2", "cp3"):
        world.hosts.hosts[name].states[owner.MEMBER.kind, owner.MEMBER.path] = "there" if name in there else "empty"


def recovered(world: World, monkeypatch: pytest.MonkeyPatch, *allow: str) -> list[str]:
    """Return the files that were taken and handed on to be restored."""
    files: list[str] = []
    monkeypatch.setattr(look, "take", lambda session, file: files.append(f"took {file.name}"))

    def planned(session: Any, intent: Intent, agreed: Any) -> Any:
        assert isinstance(intent.file, Path) and intent.allow == ()
        files.append(f"restores {intent.file.name}")
        raise RefusedForSafety("enough")

    monkeypatch.setattr(restore, "plan", planned)
    with pytest.raises(RefusedForSafety, match="enough"):
        world.perform(Intent("etcd recover", allow=allow))
    return files


def test_the_survivor_s_snapshot_is_what_is_restored(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    leaderless(built, monkeypatch, {"cp2"})
    took, restores = recovered(built, monkeypatch)
    assert took.startswith("took lab-") and restores.partition(" ")[2] == took.partition(" ")[2]


def test_a_majority_that_serves_or_has_its_data_is_not_given_up(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedForSafety, match="etcd has a leader"):
        built.perform(Intent("etcd recover"))
    leaderless(built, monkeypatch, {"cp2", "cp3"})
    with pytest.raises(RefusedForSafety, match="cp2, cp3 have their data: 2 of 3 is a majority") as refused:
        built.perform(Intent("etcd recover"))
    assert any("systemctl restart etcd" in line for line in refused.value.details)
    assert len(recovered(built, monkeypatch, recover.MAJORITY)) == 2


def test_the_majority_is_that_of_the_survivor_s_own_list_and_not_of_the_inventory(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    leaderless(built, monkeypatch, {"cp1", "cp2"})
    for number, name in ((8, "cp8"), (9, "cp9")):
        built.hosts.listed[name] = MemberSeen(number, name, (f"https://10.77.0.{number}:2380",))
    assert len(recovered(built, monkeypatch)) == 2, "2 of 5 that vote are no majority, whatever the inventory says"
    built.hosts.listed = {"cp3": MemberSeen(3, "cp3", ("https://10.77.0.13:2380",), is_learner=True)}
    with pytest.raises(RefusedForSafety, match="cp1, cp2 have their data: 2 of 2 is a majority"):
        built.perform(Intent("etcd recover"))
