"""Nobody is waited for without an end: a login that stands but is dead is closed, and the next one is new."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest
from paramiko.common import MSG_CHANNEL_OPEN_SUCCESS, MSG_CHANNEL_SUCCESS

from provisioner.errors import Unreachable
from provisioner.transport import connection as connection_module
from provisioner.transport import login as login_module
from provisioner.transport import remote, streams
from provisioner.transport.connection import Connection
from provisioner.transport.faults import HostFault
from provisioner.transport.login import FIRST_CHANNEL
from provisioner.transport.target import Hop, Target
from provisioner.transport.tunnel import Tunnel
from tests.fakes.sshd import Sshd, run_sshd
from tests.unit.transport.conftest import Login


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "CHANNEL_TIMEOUT", 1.0)
    monkeypatch.setattr(connection_module, "FIRST_CHANNEL", 4.0)
    monkeypatch.setattr(login_module, "CHANNEL_TIMEOUT", 1.0)
    monkeypatch.setattr(streams, "SILENCE", 0.5)
    monkeypatch.setattr(streams, "ECHO", 1.0)


def sessions(server: Sshd, *others: Sshd) -> list[int]:
    """Return the processes of logins on this sshd that stand."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, parent = int(stat.parent.name), int(stat.read_text().rpartition(") ")[2].split()[1])
            if parent == server.process.pid:
                found.append(pid)
    return found


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[None]:
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture
def own(tmp_path: Path, target: Callable[..., Target]) -> Iterator[tuple[Sshd, Connection]]:
    """Give an sshd with nobody else on it, and a login there that has answered."""
    with run_sshd(tmp_path / "own") as server:
        made = Connection(target(known_hosts=server.known_hosts, port=server.port, key=server.key))
        assert made.run(["true"]).rc == 0
        yield server, made
        made.close()


def test_a_login_that_stands_but_is_dead_is_replaced_before_it_is_asked_again(
        own: tuple[Sshd, Connection], quick: None) -> None:
    server, connection = own
    with frozen(*sessions(server)):
        start = time.monotonic()
        done = remote.attached(connection, lambda: connection.run(["echo", "alive"], timeout=30))
        assert time.monotonic() - start < 15
    assert done.stdout == b"alive\n"


def test_a_command_whose_login_dies_while_it_is_waited_for_is_lost_long_before_its_deadline(
        own: tuple[Sshd, Connection], quick: None) -> None:
    server, connection = own
    raised: list[HostFault] = []

    def run() -> None:
        try:
            connection.run(["sleep", "300"], timeout=300)
        except HostFault as fault:
            raised.append(fault)

    waiting = threading.Thread(target=run)
    waiting.start()
    time.sleep(1.5)                 # beyond a sign of life that was given
    assert waiting.is_alive()
    with frozen(*sessions(server)):
        waiting.join(15)
    assert [fault.code for fault in raised] == ["connection-lost"]


def test_a_host_that_takes_long_to_open_a_login_s_session_is_waited_for_as_long_as_ansible_does(
        tmp_path: Path, target: Callable[..., Target], quick: None) -> None:
    with run_sshd(tmp_path / "slow") as server, Connection(
            target(known_hosts=server.known_hosts, port=server.port, key=server.key)) as connection:
        pids = sessions(server)
        with frozen(*pids):         # between the login and its first command, as PAM's modules do
            wake = threading.Timer(2.0, lambda: [os.kill(pid, signal.SIGCONT) for pid in pids])
            wake.start()
            assert connection.run(["echo", "late"], timeout=30).stdout == b"late\n"
            wake.join()
        assert len(re.findall("Accepted publickey", server.log)) == 1
    ansible = (Path(__file__).parents[3] / "playbooks" / "ansible.cfg").read_text()
    assert f"\ntimeout = {FIRST_CHANNEL:.0f}\n" in ansible


def test_a_host_that_is_only_silent_is_not_taken_for_dead(own: tuple[Sshd, Connection], quick: None) -> None:
    assert own[1].run(["sh", "-c", "sleep 3; echo done"], timeout=60).stdout == b"done\n"


@pytest.mark.parametrize("stands_still", ["open_session", "exec_command"])
def test_a_host_that_confirms_nothing_is_given_up_at_the_commands_deadline(
        login: Login, monkeypatch: pytest.MonkeyPatch, stands_still: str) -> None:
    connection = login()
    connection.open()
    if stands_still == "exec_command":
        monkeypatch.setitem(paramiko.Transport._channel_handler_table, MSG_CHANNEL_SUCCESS, lambda channel, m: None)  # type: ignore[attr-defined]
    else:
        monkeypatch.setitem(connection.transport._handler_table, MSG_CHANNEL_OPEN_SUCCESS, lambda m: None)  # type: ignore[attr-defined]
    start = time.monotonic()
    with pytest.raises(Unreachable, match="no answer within 1 s") as caught:
        connection.run(["sleep", "60"], timeout=1)
    assert caught.value.code == "command-timeout"
    assert time.monotonic() - start < 10
    monkeypatch.undo()
    assert connection.run(["true"], timeout=30).rc == 0


def test_who_waits_for_a_free_channel_does_so_until_their_deadline_only(login: Login) -> None:
    connection = login()
    connection._channels = threading.BoundedSemaphore(1)
    with connection._channels, pytest.raises(Unreachable, match="no answer within 0 s"):
        connection.run(["true"], timeout=0.3)


@pytest.mark.parametrize("where", ["", " >&2"])
def test_an_answer_without_an_end_is_not_kept(login: Login, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ANSWER", 1 << 20)
    with pytest.raises(Unreachable, match="no answer, but more than") as caught:
        login().run(["sh", "-c", f"yes{where}"], timeout=60)
    assert caught.value.code == "answer-too-long"


def test_a_line_without_an_end_is_not_kept(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ANSWER", 1 << 20)
    lines = streams.Lines()
    with pytest.raises(Unreachable, match="no answer, but more than"):
        login().stream(["cat", "/dev/zero"], (), timeout=60, sink=lines.cut)


def test_behind_a_jump_host_a_far_leg_that_is_dead_is_replaced(
        own: tuple[Sshd, Connection], target: Callable[..., Target], sshd: Sshd, quick: None) -> None:
    far, _ = own
    jump = Hop("root" if os.geteuid() == 0 else os.environ["USER"], "127.0.0.1", sshd.port)
    (far.directory / "authorized").write_text((sshd.key.with_suffix(".pub")).read_text())
    made = Connection(target(known_hosts=far.known_hosts + sshd.known_hosts, port=far.port, key=sshd.key, jump=jump))
    before = sessions(far)
    assert made.run(["true"]).rc == 0
    with frozen(*set(sessions(far)) - set(before)):
        start = time.monotonic()
        assert remote.attached(made, lambda: made.run(["echo", "far"], timeout=30)).stdout == b"far\n"
        assert time.monotonic() - start < 15
    made.close()


def test_a_jump_host_whose_login_is_dead_is_logged_in_to_anew(
        own: tuple[Sshd, Connection], target: Callable[..., Target], sshd: Sshd, quick: None) -> None:
    middle, first = own
    first.close()
    jump = Hop("root" if os.geteuid() == 0 else os.environ["USER"], "127.0.0.1", middle.port)
    (middle.directory / "authorized").write_text((sshd.key.with_suffix(".pub")).read_text())
    made = Connection(target(known_hosts=middle.known_hosts + sshd.known_hosts, key=sshd.key, jump=jump))
    assert made.run(["true"]).rc == 0
    with frozen(*sessions(middle)):
        start = time.monotonic()
        assert remote.attached(made, lambda: made.run(["echo", "far"], timeout=30)).stdout == b"far\n"
        assert time.monotonic() - start < 40
    made.close()


def test_a_tunnel_on_a_dead_login_gets_a_new_one(own: tuple[Sshd, Connection], quick: None) -> None:
    server, connection = own
    with socket.create_server(("127.0.0.1", 0)) as listener, Tunnel(
            connection, "127.0.0.1", listener.getsockname()[1]) as way:
        threading.Thread(target=greet, args=(listener,), daemon=True).start()
        with frozen(*sessions(server)):
            answers = []
            for _ in range(2):
                with socket.create_connection(way.address, 10) as client:
                    client.settimeout(15)
                    answers.append(client.recv(10))
        assert answers[-1] == b"hello"


def greet(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client:
                client.sendall(b"hello")


@pytest.mark.parametrize("limit", [1, 2])
def test_an_sshd_that_lets_in_few_sessions_at_a_time_gets_logins_beside_the_first(
        limit: int, tmp_path: Path, target: Callable[..., Target]) -> None:
    with run_sshd(tmp_path / "few", f"MaxSessions {limit}") as server, Connection(
            target(known_hosts=server.known_hosts, port=server.port, key=server.key)) as connection:
        results: list[int] = []
        threads = [threading.Thread(target=lambda: results.append(connection.run(["sleep", "0.5"]).rc))
                   for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [0] * 5
        for _ in range(5):
            assert connection.run(["true"]).rc == 0
        assert 5 >= len(re.findall("Accepted publickey", server.log)) >= 2


def test_an_sshd_that_opens_no_session_at_all_is_told_as_that(
        tmp_path: Path, target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "FREED", 0.3)
    with (run_sshd(tmp_path / "none", "MaxSessions 0") as server,
          Connection(target(known_hosts=server.known_hosts, port=server.port, key=server.key)) as connection,
          pytest.raises(Unreachable, match=r"opens none \(MaxSessions\)") as caught):
        connection.run(["true"])
    assert caught.value.code == "no-session"
