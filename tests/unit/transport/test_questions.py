"""One applier a host for all questions of a connection, over a real sshd, with the real applier below a directory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from provisioner.applier import package
from provisioner.errors import KubewrightError
from provisioner.transport import remote, serving
from provisioner.transport.connection import Connection
from provisioner.transport.faults import LOST, HostFault
from provisioner.transport.remote import SshHost
from provisioner.transport.streams import Completed
from tests.unit.transport.conftest import Login


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the applier work below `root`, and name the commands that were started on the host, in their order."""
    seen: list[str] = []
    root, stream = tmp_path / "root", Connection.stream
    root.mkdir()

    def counted(self: Connection, argv: Sequence[str], chunks: Iterable[bytes], **more: Any) -> Completed:
        seen.append(argv[-1])
        return stream(self, argv, chunks, **more)

    monkeypatch.setattr(remote, "argv", lambda command: [*package.argv(command)[:-1], "--root", str(root), command])
    monkeypatch.setattr(Connection, "stream", counted)
    return seen


def waits(host: SshHost, path: str, deadline: float = 20.0) -> dict[str, Any]:
    return host.probe([{"name": "there", "kind": "file", "path": path}], deadline, interval=0.01)


def test_many_questions_start_one_program(login: Login, run: list[str]) -> None:
    host = SshHost(login())
    host.observe([])
    host.fence(1)
    assert host.lock({"do": "read"})["done"]
    host.note("run1", [{"what": "drained"}])
    assert host.notes()["run1"][0]["what"] == "drained"
    assert run == ["serve"]


def test_looking_leaves_nothing_on_the_host(login: Login, run: list[str], tmp_path: Path) -> None:
    SshHost(login()).observe([])
    assert list((tmp_path / "root").iterdir()) == []


def test_many_threads_are_each_given_their_own_answer(login: Login, run: list[str], tmp_path: Path) -> None:
    host, found = SshHost(login()), {}

    def read(number: int) -> None:
        found[number] = host.read([f"/{number}"])

    for number in range(20):
        (tmp_path / f"root/{number}").write_bytes(b"%d" % number * 5000)
    threads = [threading.Thread(target=read, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [b"%d" % number * 5000] for number in range(20)}


def test_a_question_that_waits_holds_up_no_other(login: Login, run: list[str], tmp_path: Path) -> None:
    host, held = SshHost(login()), []
    waiting = threading.Thread(target=lambda: held.append(waits(host, "/late")))
    waiting.start()
    host.notes()
    assert not held
    (tmp_path / "root/late").touch()
    waiting.join()
    assert held[0]["ok"] and run == ["serve"]


def test_an_answer_that_does_not_come_in_time_is_waited_for_no_longer_and_the_next_comes(
        login: Login, run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SLACK", -19.0)
    host = SshHost(login())
    host.notes()
    with pytest.raises(HostFault, match="cp1: running applier probe: no answer within 1 s") as caught:
        waits(host, "/never")
    assert caught.value.code == "command-timeout"
    host.notes()
    assert run == ["serve"]


def test_where_none_can_serve_each_question_goes_its_own_way_and_tells_what_is_wrong(
        login: Login, run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "argv", lambda command: ["false"] if command == "serve" else package.argv(command))
    host = SshHost(login())
    assert host.notes() == {}
    assert host.notes() == {}
    assert run == ["false", "notes", "notes"]


def test_a_question_whose_process_breaks_is_asked_on_its_own(login: Login, run: list[str]) -> None:
    with pytest.raises(KubewrightError, match="TypeError"):
        SshHost(login())._call("probe", {"probes": 3})
    assert run == ["serve", "probe"]


def test_what_served_and_was_killed_is_started_anew_and_the_question_asked_again(
        login: Login, run: list[str], tmp_path: Path) -> None:
    connection = login()
    host, held = SshHost(connection), []
    host.notes()
    waiting = threading.Thread(target=lambda: held.append(waits(host, "/late")))
    waiting.start()
    time.sleep(0.3)
    end_what_serves(tmp_path)
    (tmp_path / "root/late").touch()
    waiting.join()
    assert held[0]["ok"]
    assert run == ["serve", "serve"]


def end_what_serves(tmp_path: Path) -> None:
    """End it as the kernel ends a process that takes too much memory."""
    word = f"--root\0{tmp_path}/root\0serve".encode()
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((proc / "stat").read_text().rpartition(")")[2].split()[1])
            if word in (proc / "cmdline").read_bytes() and word not in Path(f"/proc/{parent}/cmdline").read_bytes():
                os.kill(int(proc.name), 9)
        except OSError:
            continue


class Ends(SimpleQueue[bytes]):
    """Lets what serves end in place of asking it."""

    def __init__(self, tmp_path: Path) -> None:
        self._place = tmp_path

    def put(self, order: bytes, block: bool = True, timeout: float | None = None) -> None:
        end_what_serves(self._place)


def test_a_lock_that_was_asked_for_is_not_asked_for_again_when_what_served_ends(
        login: Login, run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = SshHost(login())
    host.notes()
    serving_now = host._connection._serving
    assert serving_now is not None
    monkeypatch.setattr(serving_now, "_orders", Ends(tmp_path))
    with pytest.raises(HostFault) as caught:
        host.lock({"do": "read"})
    assert caught.value.code == LOST
    assert run == ["serve"]


def test_a_login_that_takes_no_question_is_closed_and_the_next_is_new(
        login: Login, run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    connection = login()
    host = SshHost(connection)
    host.notes()
    serving_now, before = connection._serving, connection.transport
    assert serving_now is not None
    monkeypatch.setattr(serving, "CHANNEL_TIMEOUT", 0.3)
    monkeypatch.setattr(serving_now, "_orders", SimpleQueue())      # what is put there is never sent
    assert host.notes() == {}
    assert run == ["serve", "serve"] and connection.transport is not before
