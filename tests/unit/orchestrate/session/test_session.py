"""A run's belongings: private, used from the first host that works, and gone at the end."""

from __future__ import annotations

import fcntl
import secrets
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509

from provisioner.compile import pki as table
from provisioner.errors import GateFailed, InventoryRefused, KubewrightError, Unreachable, UsageFault
from provisioner.operate import pki
from provisioner.orchestrate.session import rundir
from provisioner.orchestrate.session.cluster_access import ClusterAccess
from provisioner.orchestrate.session.session import open_session
from provisioner.transport.faults import HostFault, forwarding_fault
from tests.fakes.session import World


class OpenKube:
    """Takes the place of ClusterAccess._open_kube: keeps the files it was given."""

    files: tuple[Path, Path, Path]

    def __call__(self, access: ClusterAccess, files: tuple[Path, Path, Path], hosts: Any) -> None:
        self.files = files


def test_credentials_are_0600_in_a_0700_directory_and_gone_when_the_run_ends(built: World) -> None:
    with built.session() as session:
        files = session.access.admin_files()
        assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
        assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700
    assert not files[0].parent.exists()


def test_credentials_are_gone_also_after_a_failure(built: World) -> None:
    with pytest.raises(KubewrightError), built.session() as session:
        files = session.access.admin_files()
        raise KubewrightError("x")
    assert not files[0].parent.exists()


def test_bundles_of_a_phase_that_nobody_waited_for_are_gone_too(built: World) -> None:
    session = built.session()
    with pytest.raises(KeyboardInterrupt), session:
        bundle = session.run.directory / "bundles" / "pki.0" / "cp1.json"
        bundle.parent.mkdir(parents=True)
        bundle.write_text("a key in the clear")
        raise KeyboardInterrupt
    assert not (session.run.directory / "bundles").exists()


def test_credentials_are_fetched_once_a_run(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with built.session() as session:
        first = session.access.admin_files()
        monkeypatch.setattr(built.hosts, "content", None)
        assert session.access.admin_files() == first


def test_whoever_waits_for_the_api_holds_up_nobody_who_asks_what_the_run_does(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = threading.Event(), threading.Event()
    said: list[str] = []

    def silent(*_: object) -> None:
        asked.set()
        over.wait(20)
        raise GateFailed("nobody there")

    def opens() -> None:
        with suppress(GateFailed):
            access.kube()

    monkeypatch.setattr(ClusterAccess, "_on_first", silent)
    session = built.session()
    session.run.works_on("phase access")
    access = ClusterAccess(session.run, session.target)
    opener = threading.Thread(target=opens)
    asker = threading.Thread(target=lambda: said.append(session.run.doing))
    opener.start()
    assert asked.wait(20)
    asker.start()
    asker.join(3)
    heard = list(said)
    over.set()
    for thread in (opener, asker):
        thread.join(20)
    assert heard == ["phase access"]


def test_certificate_and_key_come_from_the_same_host(built: World) -> None:
    # A host that gives the certificate and not the key must not be mixed with the next one
    del built.hosts.hosts["cp1"].states["key", table.ADMIN.key_path]
    with built.session() as session:
        _, cert, key = session.access.admin_files()
        assert cert.read_text() == built.hosts.hosts["cp2"].extras["certificate", table.ADMIN.path]["pem"]
        assert b"of cp2" in key.read_bytes()


def test_the_break_glass_certificate_is_system_masters_and_lives_ten_minutes(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = OpenKube()
    monkeypatch.setattr(ClusterAccess, "_open_kube", lambda s, files, hosts: opened(s, files, hosts))
    with built.session() as session:
        ClusterAccess.break_glass(session.access)
        text = opened.files[1].read_text()
        seen = pki.read(text, session.target.secrets.ca_certificates())
        assert seen is not None
        assert (seen.organization, seen.issued_by) == ("system:masters", "cluster")
        assert seen.client and not seen.server
        assert 0 < seen.not_after - time.time() <= 600
        assert x509.load_pem_x509_certificate(text.encode())
    assert not opened.files[2].exists()


@pytest.mark.parametrize(("faults", "code"), [
    ([Unreachable("cp1: no route"), Unreachable("cp2: no route")], 12),
    ([Unreachable("cp1: no route"), KubewrightError("cp2: no such file")], 13), ([], 13)])
def test_access_that_nobody_gives_is_12_only_where_nobody_can_be_reached(
        world: World, faults: list[KubewrightError], code: int) -> None:
    def act(host: str) -> None:
        raise faults[int(host)]

    with world.session() as session, pytest.raises(GateFailed) as caught:
        session.access._on_first([str(number) for number in range(len(faults))], act)
    assert (caught.value.exit_code, caught.value.code) == (code, "no-api")


def test_where_no_control_plane_gives_access_one_error_holds_every_refusal(world: World) -> None:
    with world.session() as session, pytest.raises(GateFailed) as fault:
        session.access.admin_files()
    assert fault.value.code == "no-api"
    assert len(fault.value.details) == 3


class Ways:
    """Stands for tunnels: sshd of `hard` hosts forbids forwarding."""

    def __init__(self, *hard: str) -> None:
        self.hard = hard
        self.opened: list[str] = []

    def __call__(self, host: str) -> Any:
        if host in self.hard:
            raise forwarding_fault(host)
        self.opened.append(host)
        return SimpleNamespace(address=("127.0.0.1", 1), refusal=lambda: forwarding_fault(host))


def test_the_api_is_asked_through_a_control_plane_whose_sshd_forwards(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = Ways("cp1")
    monkeypatch.setattr(ClusterAccess, "_api_way", lambda s, host: ways(host))
    with built.session() as session:
        client = ClusterAccess.kube(session.access)
        assert ways.opened == ["cp2"]
        with pytest.raises(HostFault, match=r"cp2: .*sshd forbids forwarding"):       # not: SSLEOFError
            client.nodes()


def test_where_sshd_forbids_every_way_this_is_the_fault_and_not_that_there_is_no_api(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = Ways("cp1", "cp2", "cp3")
    monkeypatch.setattr(ClusterAccess, "_api_way", lambda s, host: ways(host))
    with built.session() as session, pytest.raises(Unreachable, match="cp1, cp2, cp3: sshd forbids") as fault:
        ClusterAccess.kube(session.access)
    assert fault.value.code == "forwarding-forbidden"


def lock_beside(world: World) -> None:
    (world.inventory.path / "artifacts.lock").write_text("version: 1\nartifacts: []\n")


def test_a_read_leaves_no_run_behind_and_a_run_keeps_its_directory_private(world: World) -> None:
    lock_beside(world)
    with open_session(world.inventory, lambda e: None, run=False) as read:
        assert read.run.directory.is_dir()
    assert not read.run.directory.exists()
    with open_session(world.inventory, lambda e: None, run=True) as run:
        pass
    assert run.run.directory.is_dir()
    for directory in (world.inventory.state_dir, world.inventory.runs_dir, run.run.directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


KILLED = """
import os, signal, sys
from pathlib import Path
from provisioner.model.inventory import Inventory
from provisioner.orchestrate.session.session import open_session
session = open_session(Inventory.open(Path(sys.argv[1])), lambda event: None, run=sys.argv[2] == "run")
session.access._write_credentials("admin", b"ca", b"crt", b"key")
(session.run.directory / "bundles" / "pki.0").mkdir(parents=True)
(session.run.directory / "bundles" / "pki.0" / "cp1.json").write_text("ca.key in the clear")
if sys.argv[2] == "run":
    (session.run.directory / "events.jsonl").write_text("{}")
print(session.run.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("kind", "left"), [("run", {"events.jsonl", "lock"}), ("read", None)])
def test_secrets_that_a_killed_run_left_are_gone_once_the_next_one_opens(
        world: World, kind: str, left: set[str] | None) -> None:
    lock_beside(world)
    dead = subprocess.run([sys.executable, "-c", KILLED, str(world.inventory.path), kind], capture_output=True,
                          text=True, timeout=60, check=False)
    run_dir = Path(dead.stdout.strip())
    assert (run_dir / "bundles" / "pki.0" / "cp1.json").is_file() and (run_dir / "credentials" / "admin.key").is_file()
    with open_session(world.inventory, lambda e: None, run=False):
        assert ({p.name for p in run_dir.iterdir()} if run_dir.exists() else None) == left


def test_the_secrets_of_a_run_that_lives_are_left_alone(world: World) -> None:
    lock_beside(world)
    with open_session(world.inventory, lambda e: None, run=True) as living:
        files = living.access._write_credentials("admin", b"ca", b"crt", b"key")
        with open_session(world.inventory, lambda e: None, run=False):
            assert all(f.is_file() for f in files)


def test_two_runs_of_the_same_second_do_not_share_a_directory(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(("aaaa", "aaaa", "bbbb"))
    monkeypatch.setattr(secrets, "token_hex", lambda size: next(drawn))
    monkeypatch.setattr(rundir, "time", SimpleNamespace(gmtime=time.gmtime, strftime=lambda *now: "20260101-000000-"))
    lock_beside(world)
    ids = [open_session(world.inventory, lambda e: None, run=True).run.id for _ in range(2)]
    assert ids == ["20260101-000000-aaaa", "20260101-000000-bbbb"]


def test_without_a_lock_file_no_session_opens_and_no_directory_is_made(world: World) -> None:
    with pytest.raises(InventoryRefused):
        open_session(world.inventory, lambda e: None, run=True)
    assert not world.inventory.state_dir.exists()


def test_where_no_run_can_be_kept_the_place_is_named(world: World) -> None:
    lock_beside(world)
    world.inventory.state_dir.write_text("in the way")
    with pytest.raises(UsageFault, match=f"{world.inventory.state_dir}: keeping the run .*: File exists") as refused:
        open_session(world.inventory, lambda e: None, run=False)
    assert refused.value.details == ("nothing was changed",)


def test_two_who_ask_at_once_whether_a_dead_run_lives_do_not_take_each_other_for_it(tmp_path: Path) -> None:
    with (tmp_path / rundir.LOCK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not rundir.lives(tmp_path)
    with (tmp_path / rundir.LOCK).open("w") as own:
        fcntl.flock(own, fcntl.LOCK_EX)
        assert rundir.lives(tmp_path)
