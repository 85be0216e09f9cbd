"""`etcd defrag` on hosts in memory: who goes when, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.errors import KubewrightError
from provisioner.model.etcd import Alarm
from provisioner.operate import drain, etcd
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
    drain.cordon(built.kube(), "w2", "upgrade by somebody")
    done = built.perform(Intent("etcd defrag"))
    assert done.plan.cordoned == (), "it promises no more than it does"
    assert [host for host, _, _ in defragmented] == ["cp2", "cp3", "cp1"]
    assert all(host != leader for host, leader, _ in defragmented)
    assert all(out == {host} for host, _, out in defragmented)
    assert not any(admin != "ready" for one in built.hosts.balancers.values() for admin in one.states.values())
    assert [e.status for e in built.events if e.type == "availability"] == ["ok"], "it is measured like any change"


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
