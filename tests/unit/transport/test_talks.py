"""One host's half of a spreading over a real sshd, with the real applier below a directory of its own."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import package
from provisioner.errors import LockHeld
from provisioner.lab.processes import wait_until
from provisioner.model.desired import Artifact
from provisioner.model.sharing import End, Fetch, Identity, Order, Peer, Take, Wait
from provisioner.operate import run_identities
from provisioner.transport import remote
from provisioner.transport.remote import SshHost
from provisioner.transport.sharing import Talk
from tests.unit.transport.conftest import Login

ROOT = Path(__file__).resolve().parents[3]
DATA = os.urandom(2_500_000)
LARGE = Artifact(path="/opt/kubewright/a/1/a", phase="stage", sha256=hashlib.sha256(DATA).hexdigest(), size=len(DATA),
                 name="a", version="1")
ME = run_identities.make(["cp1"])["cp1"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "root"
    place.mkdir()
    monkeypatch.setattr(remote, "argv", lambda command: [*package.argv(command)[:-1], "--root", str(place), command])
    return place


def talk(file: Path, orders: Iterable[Order], told: list[Mapping[str, Any]], *,
         progress: Callable[[int], None] = lambda count: None) -> Talk:
    rest = iter(orders)
    return Talk("127.0.0.1", ME, {LARGE: file}, lambda: next(rest, End()), lambda seconds: None, told.append,
                progress=progress)


def local(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(DATA)
    return tmp_path / "a"


def test_what_is_said_to_a_host_is_done_there_and_told(login: Login, root: Path, tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    moved: list[int] = []
    nobody = Fetch(LARGE, Peer("cp2", "127.0.0.1", 1))
    SshHost(login()).share(talk(local(tmp_path), [Wait(), nobody, Wait(), Take(LARGE)], told, progress=moved.append))
    assert told[0]["port"] and told[-1] == {"stored": [LARGE.path]}
    assert {"stored": 0} in told
    assert {"failed": 0, "why": "Connection refused", "lied": False} in told
    assert (root / LARGE.path.lstrip("/")).read_bytes() == DATA
    assert sum(moved) == len(DATA)


def test_a_talk_of_an_older_epoch_is_a_lost_lock(login: Login, root: Path, tmp_path: Path) -> None:
    (root / "var/lib/kubewright").mkdir(parents=True)
    (root / "var/lib/kubewright/epoch.json").write_text('{"epoch": 5}')
    with pytest.raises(LockHeld, match="cp1: applier share: epoch 4 is over"):
        SshHost(login()).share(talk(local(tmp_path), [Take(LARGE)], []), epoch=4)
    assert not (root / "opt").exists()


def test_a_talk_that_is_given_up_ends_at_once_and_leaves_nothing(login: Login, root: Path, tmp_path: Path) -> None:
    def give_up(count: int) -> None:
        raise OSError("given up")

    with pytest.raises(OSError, match="given up"):
        SshHost(login()).share(talk(local(tmp_path), [Wait(), Take(LARGE)], [], progress=give_up))
    assert not (root / LARGE.path.lstrip("/")).exists()


def test_a_run_that_is_killed_leaves_nothing_that_serves(login: Login, root: Path) -> None:
    """What talks is a process of its own, which says nothing but that it lives; the kernel ends its connection."""
    target = login().target
    program = f"""
import sys
from pathlib import Path
from provisioner.model.sharing import Wait
from provisioner.transport import remote
from provisioner.transport.connection import Connection
from provisioner.transport.target import Target
from tests.unit.transport import test_talks
import threading
remote.argv = lambda command: [*test_talks.package.argv(command)[:-1], "--root", {str(root)!r}, command]
talk = test_talks.Talk("127.0.0.1", test_talks.ME, {{}}, Wait, threading.Event().wait,
                       lambda line: print(line["port"], flush=True))
remote.SshHost(Connection(Target("cp1", "127.0.0.1", {target.port}, {target.user!r}, "none",
                                 Path({str(target.key_file)!r}), Path({str(target.known_hosts_file)!r})))).share(talk)
"""
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    with run:
        try:
            assert run.stdout
            port = int(run.stdout.readline())
            assert listening(port)
        finally:
            run.kill()
    assert wait_until(lambda: not listening(port), 30)


def listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_no_identity_shows_its_key() -> None:
    assert "PRIVATE" in ME.key and "PRIVATE" not in repr(ME) + str(talk(Path("a"), [], []))
    assert isinstance(ME, Identity)
