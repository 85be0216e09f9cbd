"""What a restore does to three real members on loopback: etcd's own restore as each host is told to run it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from provisioner.compile.etcd import DATA_DIR
from provisioner.converge.bundle import change_request
from provisioner.decide.etcd import disagreements
from provisioner.decide.restoring import BUMP, bump, differences
from provisioner.model.desired import Program
from provisioner.model.etcd import EtcdStatus
from provisioner.model.snapshot import Restore
from provisioner.operate import etcd, snapshots
from provisioner.operate.access import Access
from provisioner.orchestrate.look import snapshots as look
from provisioner.orchestrate.phases import restoring
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.session.session import Session
from tests.fakes.session import FakeAccess, World, instant
from tests.fakes.sshd import free_ports
from tests.real.binaries import binary, until
from tests.real.test_real_snapshots import NAMES, STATUS, put, session_of
from tests.unit.operate.test_etcd import running

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(240)]
WRITES = 500


def told(session: Session, host: str, restore: Restore, directory: Path, ports: Mapping[str, tuple[int, int]],
         ) -> list[str]:
    """Return what the host would be told to run, with this machine's places and ports in those of the hosts."""
    change = restoring._etcdutl(session, host, restore)
    assert isinstance(change.item, Program)
    request = change_request(change, lambda name: b"", lambda item: (b"", b""))
    words = [str(word) for word in request["argv"]]
    for one in session.cluster.etcd_hosts:
        words = [w.replace(f"https://{one.address}:2380", f"https://127.0.0.1:{ports[one.name][1]}") for w in words]
    words = [w.replace(restoring.snapshot_on_host(restore).path, str(restore.db)) for w in words]
    words = [w.replace(restoring.MADE, str(directory / "restored" / host)) for w in words]
    assert not any(DATA_DIR in word for word in words)
    return words


def test_three_members_hold_what_the_snapshot_holds_and_no_revision_comes_again(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.make(tmp_path, monkeypatch)
    instant(monkeypatch)
    world.build(monkeypatch)
    ways: dict[str, Access] = {}
    monkeypatch.setattr(FakeAccess, "etcd", lambda self, host: ways[host])
    session = session_of(world)
    locked, session.target.artifacts = session.target.artifacts, world.hosts.lock
    survey(session)         # with hosts in memory: what each is to run
    session.target.artifacts = locked
    monkeypatch.setattr(etcd, "status", STATUS)
    free = free_ports(2 * len(NAMES))
    ports = {name: (free[2 * n], free[2 * n + 1]) for n, name in enumerate(NAMES)}
    file = tmp_path / "one.db.age"

    before = tmp_path / "before"
    before.mkdir()
    with running(before, NAMES, ports) as found:
        ways |= found
        for number in range(50):
            put(found["cp1"], f"/registry/configmaps/default/kept-{number}", os.urandom(100))
        taken = look.take(session, file)
        for number in range(WRITES):
            put(found["cp1"], f"/registry/configmaps/default/later-{number}", b"x")
        put(found["cp1"], "/registry/configmaps/default/kept-1", b"changed")
        newest, now = etcd.status(found["cp1"]).revision, etcd.revisions(found["cp1"])
        old = etcd.status(found["cp1"])

    opened = look.opened(session, file)
    proof, keys = look.rehearsed(session, opened)
    (difference,) = differences(keys, now)
    assert (difference.lost, difference.back, difference.older) == (WRITES, 0, 1)
    grown = bump(proof.revision, newest)
    restore = Restore(opened.db, opened.sha256, opened.hashed, proof.keys, grown,
                      proof.revision + grown, "token-of-run")
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "restored").mkdir()
    for name in NAMES:
        subprocess.run([binary("etcdutl", programs), *told(session, name, restore, tmp_path, ports)], check=True,
                       capture_output=True, timeout=60)
    with running(tmp_path / "restored", NAMES, ports) as found:
        ways |= found
        statuses = [etcd.status(way, timeout=20) for way in found.values()]
        assert disagreements(statuses, NAMES) == []
        assert restoring._differ(with_restore(session, restore)) == ""
        first = etcd.status(found["cp2"])
        assert first.revision >= newest + BUMP
        assert (first.cluster_id, first.member_id) != (old.cluster_id, old.member_id), "strangers to those of before"
        assert etcd.revisions(found["cp3"]) == {key: at for key, at in etcd.revisions(found["cp1"]).items()}
        assert etcd.revisions(found["cp3"]).keys() == keys.keys()
        put(found["cp1"], "/registry/configmaps/default/new", b"x")
        assert restoring._differ(session) == f"cp1 has {taken.keys + 1} keys, the snapshot {taken.keys}"
        with pytest.raises(etcd.EtcdFault, match="compacted"):      # so that who watched from before looks anew
            etcd.count(found["cp1"], revision=newest)
    assert snapshots.newest(tmp_path, 0).taken is not None


def with_restore(session: Session, restore: Restore) -> Session:
    session.target.restore = restore
    return session


def processes(place: Path) -> dict[str, int]:
    """Return the members that run from a directory, by name."""
    found = {}
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        words = one.read_bytes().decode(errors="replace").split("\0") if one.exists() else []
        name = next((w.partition("=")[2] for w in words if w.startswith("--name=")), "")
        if name and any(w.startswith(f"--data-dir={place}/") for w in words):
            found[name] = int(one.parent.name)
    return found


def test_a_survivor_without_a_quorum_gives_all_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.make(tmp_path, monkeypatch)
    world.secrets().create(world.inventory.cluster.cluster)
    monkeypatch.setattr(etcd, "status", STATUS)
    ways: dict[str, Access] = {}
    monkeypatch.setattr(FakeAccess, "etcd", lambda self, host: ways[host])
    (tmp_path / "members").mkdir()
    with running(tmp_path / "members", NAMES) as found:
        ways |= found
        for number in range(50):
            put(found["cp1"], f"/registry/configmaps/default/acknowledged-{number}", b"x")
        until(lambda: etcd.count(found["cp3"]) == 50, 20, "the survivor has what was acknowledged")
        pids = processes(tmp_path / "members")
        for name in ("cp1", "cp2"):
            os.kill(pids[name], signal.SIGKILL)
        until(lambda: not etcd.status(found["cp3"]).leader_id, 30, "it has lost its leader")
        with session_of(world) as session:
            assert look.chosen(session)[0] == "cp3"
            taken = look.take(session, tmp_path / "survivor.db.age")
    with session_of(world) as session:
        proof, keys = look.rehearsed(session, look.opened(session, tmp_path / "survivor.db.age"))
    assert (taken.member, taken.keys, proof.hash, len(keys)) == ("cp3", 50, True, 50)


def test_defragmenting_gives_the_room_of_deleted_data_back(tmp_path: Path) -> None:
    with running(tmp_path, ["cp1"]) as found:
        way = found["cp1"]
        for number in range(200):
            put(way, f"/registry/configmaps/default/{number}", os.urandom(20_000))
        with etcd.client_of(way, 30, "deleting") as (client, _):
            client.delete_prefix("/registry/")
            client.compact(etcd.status(way).revision, physical=True)

        def mostly_free() -> EtcdStatus | None:
            put(way, "/registry/beat", b"x")        # pages are free with a later write than the one that left them
            seen = etcd.status(way)
            return seen if seen.in_use < seen.db_size / 2 else None

        full = until(mostly_free, 30, "most of it is free")
        etcd.defragment(way, timeout=60)
        assert etcd.status(way).db_size < full.db_size / 2
