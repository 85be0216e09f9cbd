"""One applier a host for all questions of a connection, over a real sshd, with the real applier below a directory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest

from provisioner.applier import package
from provisioner.errors import KubewrightError
from provisioner.transport import remote, streams
from provisioner.transport.connection import Connection
from provisioner.transport.faults import LOST, HostFault
from provisioner.transport.remote import SshHost
from provisioner.transport.target import Target
from tests.fakes.sshd import run_sshd
from tests.unit.transport.conftest import Login


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the applier work below `root`, and name the commands that were started on the host, in their order."""
    seen: list[str] = []
    root, begin = tmp_path / "root", Connection._begin
    root.mkdir()

    def counted(self: Connection, command: str, deadline: float) -> paramiko.Channel:
        seen.append(command.split()[-1])
        return begin(self, command, deadline)

    monkeypatch.setattr(remote, "argv", lambda command: [*package.argv(command)[:-1], "--root", str(root), command])
    monkeypatch.setattr(Connection, "_begin", counted)
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


@pytest.mark.parametrize("words", [r"Welcome to cp1!\n", r"Welcome to cp1! ", r'{"a": 1}\n{a brace}\n\377\n'])
def test_what_a_login_script_prints_before_it_serves_is_no_part_of_it(
        login: Login, run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    argv = package.argv
    (tmp_path / "a").write_bytes(b"text")
    monkeypatch.setattr(remote, "argv", lambda command: ["sh", "-c", 'printf "$0"; exec "$@"', words, *argv(command)])
    assert SshHost(login()).read([str(tmp_path / "a")]) == [b"text"]
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


def test_a_lock_that_was_asked_for_is_not_asked_for_again_when_what_served_ends(
        login: Login, run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = SshHost(login())
    host.notes()
    serving_now = host._connection._serving
    assert serving_now is not None
    monkeypatch.setattr(serving_now, "_send", lambda order, end: end_what_serves(tmp_path))
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
    monkeypatch.setattr(serving_now, "patience", 0.3)
    monkeypatch.setattr(serving_now, "_send", lambda order, end: None)
    assert host.notes() == {}
    assert run == ["serve", "serve"] and connection.transport is not before


def test_questions_that_a_dead_login_does_not_take_close_it_once_and_never_the_one_after_it(
        login: Login, run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    connection = login()
    host, found = SshHost(connection), []
    host.notes()
    serving_now = connection._serving
    assert serving_now is not None
    monkeypatch.setattr(serving_now, "patience", 1.0)
    monkeypatch.setattr(serving_now, "_send", lambda order, end: None)

    def ask(after: float) -> None:
        time.sleep(after)
        found.append(host.notes())

    threads = [threading.Thread(target=ask, args=(n / 5,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{}] * 8
    assert run == ["serve", "serve"]


def test_a_lock_whose_process_breaks_is_a_fault_and_asked_for_once(login: Login, run: list[str]) -> None:
    with pytest.raises(KubewrightError, match="KeyError"):
        SshHost(login()).lock({"do": "take"})
    assert run == ["serve"]


def test_an_answer_that_is_too_long_is_told_as_that_and_not_asked_for_again(
        login: Login, run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ANSWER", 1_000_000)         # more than comes at once, as in earnest
    (tmp_path / "root/large").write_bytes(b"x" * 3_000_000)
    host = SshHost(login())
    with pytest.raises(HostFault) as caught:
        host.read(["/large"])
    assert caught.value.code == "answer-too-long"
    assert host.notes() == {} and run == ["serve", "serve"]


@pytest.mark.parametrize("limit", [1, 2])
def test_an_sshd_that_lets_in_few_sessions_serves_all_the_same(
        target: Callable[..., Target], run: list[str], tmp_path: Path, limit: int) -> None:
    with run_sshd(tmp_path / "few", f"MaxSessions {limit}") as server, Connection(
            target(known_hosts=server.known_hosts, port=server.port, key=server.key)) as connection:
        host = SshHost(connection)
        assert host.notes() == {}
        assert connection.run(["true"]).rc == 0
        assert host.notes() == {}


def test_all_that_served_is_gone_with_its_connections(login: Login, run: list[str]) -> None:
    connections = [login(f"cp{n}") for n in range(3)]
    for connection in connections:
        SshHost(connection).notes()
    for connection in connections:
        connection.close()
    end = time.monotonic() + 10
    while any(t.name == "serving" for t in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.02)
    assert not [t for t in threading.enumerate() if t.name == "serving"]
