"""The session layer against a real sshd on loopback."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import getpass
import hmac
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from provisioner.errors import InventoryRefused, Unreachable
from provisioner.lab.processes import wait_until
from provisioner.transport import connection as connection_module
from provisioner.transport import login as login_module
from provisioner.transport import trust
from provisioner.transport.connection import Connection
from provisioner.transport.faults import connect_fault
from provisioner.transport.target import Hop, Target
from tests.fakes.sshd import Sshd, connections, free_port, keygen, run_sshd

Login = Callable[..., Connection]


def test_a_command_gives_its_status_and_both_streams(login: Login) -> None:
    done = login().run(["sh", "-c", "cat; echo no >&2; exit 3"], b"yes")
    assert (done.rc, done.stdout, done.stderr) == (3, b"yes", b"no\n")


def test_arguments_arrive_as_they_were_given(login: Login) -> None:
    words = ["a b", "$HOME", "it's", "*", "x\ny"]
    done = login().run(["printf", r"%s\0", *words])
    assert done.stdout.decode().split("\0")[:-1] == words


def test_an_unknown_key_is_refused_before_authentication(login: Login, sshd: Sshd) -> None:
    before = len(sshd.log)
    with pytest.raises(Unreachable) as caught:
        login(known_hosts="").open()
    assert caught.value.code == "host-key-unknown"
    assert caught.value.hint == "kubewright trust cp1"
    at = f"{getpass.getuser()}@127.0.0.1:{sshd.port}"
    assert f"cp1: connecting as {at}: unknown host key SHA256:" in str(caught.value)
    assert "Accepted" not in sshd.log[before:] and "Postponed" not in sshd.log[before:]


def test_a_changed_key_is_refused_before_authentication(login: Login, sshd: Sshd, tmp_path: Path) -> None:
    kind, blob, *_ = keygen(tmp_path / "other").split()
    before = len(sshd.log)
    with pytest.raises(Unreachable) as caught:
        login(known_hosts=f"[127.0.0.1]:{sshd.port} {kind} {blob}\n").open()
    assert caught.value.code == "host-key-changed"
    assert "--replace" in caught.value.hint
    assert "Accepted" not in sshd.log[before:]


def test_a_line_with_an_authority_does_not_lose_the_file(login: Login, sshd: Sshd) -> None:
    bad = f"@cert-authority * {sshd.host_key}\n@revoked 1.2.3.4 ssh-ed25519 AAAA\nnonsense\n"
    assert login(known_hosts=bad + sshd.known_hosts).run(["true"]).rc == 0


def test_an_authority_is_named_that_may_speak_for_a_key_that_is_not_pinned(
        login: Login, sshd: Sshd, tmp_path: Path) -> None:
    authority = " ".join(keygen(tmp_path / "ca").split()[:2])
    for more, named in (("", True), (f"@revoked elsewhere {authority}\n", True), (f"@revoked * {authority}\n", False)):
        with pytest.raises(Unreachable) as caught:
            login(known_hosts=f"@cert-authority * {authority}\n{more}").open()
        assert caught.value.code == "host-key-unknown"
        assert ("names an authority" in caught.value.message) == named


def test_a_key_that_is_pinned_and_revoked_is_believed_by_nobody(login: Login, sshd: Sshd) -> None:
    for names in (f"[127.0.0.1]:{sshd.port}", "*", f"!other,[127.*]:{sshd.port}"):
        with pytest.raises(Unreachable, match="is revoked in known_hosts") as caught:
            login(known_hosts=f"{sshd.known_hosts}@revoked {names} {' '.join(sshd.host_key.split()[:2])}\n").open()
        assert (caught.value.code, caught.value.exit_code) == ("host-key-revoked", 12)
    other = f"{sshd.known_hosts}@revoked elsewhere {' '.join(sshd.host_key.split()[:2])}\n"
    assert login(known_hosts=other).run(["true"]).rc == 0


def test_patterns_and_hashed_names_pin_as_in_ssh(login: Login, sshd: Sshd) -> None:
    key, name = " ".join(sshd.host_key.split()[:2]), f"[127.0.0.1]:{sshd.port}"
    salt = base64.b64encode(b"x" * 20).decode()
    digest = base64.b64encode(hmac.new(b"x" * 20, name.encode(), "sha1").digest()).decode()
    for names in (f"[127.0.0.*]:{sshd.port}", "*", f"|1|{salt}|{digest}"):
        assert login(known_hosts=f"{names} {key}\n").run(["true"]).rc == 0
    with pytest.raises(Unreachable, match="unknown host key"):
        login(known_hosts=f"!{name},* {key}\n").open()


def test_a_line_of_known_hosts_that_is_damaged_is_named_with_its_cure(login: Login, sshd: Sshd) -> None:
    kind = sshd.host_key.split()[0]
    damaged = f"# ours\n[127.0.0.1]:{sshd.port} {kind} AAAA!broken\n"
    with pytest.raises(Unreachable, match=r"known_hosts-cp1:2 cannot be read") as caught:
        login(known_hosts=damaged).open()
    assert (caught.value.code, caught.value.hint.startswith("kubewright trust cp1")) == ("known-hosts-damaged", True)
    assert login(known_hosts=damaged + sshd.known_hosts).run(["true"]).rc == 0, "what is pinned beside it is pinned"


def test_a_known_hosts_that_is_no_file_is_refused_in_words(
        target: Callable[..., Target], tmp_path: Path) -> None:
    directory = tmp_path / "as_directory"
    directory.mkdir()
    made = dataclasses.replace(target(), known_hosts_file=directory)
    with pytest.raises(InventoryRefused, match="as_directory: reading the pinned host keys: Is a directory"):
        Connection(made).open()


@pytest.mark.parametrize("what", ["public", "directory", "text"])
def test_what_is_no_private_key_is_named_before_anything_is_sent(
        login: Login, sshd: Sshd, tmp_path: Path, what: str) -> None:
    key = {"public": sshd.key.with_suffix(".pub"), "directory": tmp_path, "text": tmp_path / "text"}[what]
    (tmp_path / "text").write_text("hello")
    with pytest.raises(Unreachable) as caught:
        login(key=key).open()
    said = {"public": "is a public key", "directory": ": Is a directory", "text": "is no private key"}[what]
    assert f"{key}{said if what == 'directory' else ' ' + said}" in caught.value.message
    assert caught.value.code == "ssh-key-unusable" and "ssh.key" in caught.value.hint


def test_an_agent_with_too_many_keys_is_told_as_that(
        target: Callable[..., Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_sshd(tmp_path / "few", "MaxAuthTries 3") as server, agent(tmp_path, 6, server.key) as place:
        monkeypatch.setenv("SSH_AUTH_SOCK", place)
        monkeypatch.setenv("HOME", str(tmp_path))
        made = target(known_hosts=server.known_hosts, port=server.port, key=server.key)
        with pytest.raises(Unreachable, match="the agent offered too many keys") as caught:
            Connection(dataclasses.replace(made, key_file=None)).open()
        assert "set `ssh.key`" in caught.value.hint
        with Connection(made) as connection:
            assert connection.is_open, "with ssh.key that key alone is offered"


@contextlib.contextmanager
def agent(directory: Path, strangers: int, key: Path) -> Iterator[str]:
    """Run an agent whose right key is the last; give its socket."""
    place = directory / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL) as process:
        try:
            assert wait_until(place.exists, 30)
            for number in range(strangers):
                keygen(directory / f"stranger{number}")
            keys = [str(directory / f"stranger{number}") for number in range(strangers)]
            subprocess.run(["ssh-add", "-q", *keys, str(key)], env={**os.environ, "SSH_AUTH_SOCK": str(place)},
                           check=True, timeout=30)
            yield str(place)
        finally:
            process.terminate()


@pytest.mark.parametrize("ask", [lambda target: Connection(target).open(), trust.fetch], ids=["login", "trust"])
def test_what_takes_a_connection_and_says_nothing_is_told_as_that(
        ask: Callable[[Target], object], target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (login_module, trust):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(Unreachable, match="takes the connection and then says nothing") as caught:
            ask(target(port=silent.getsockname()[1]))
        assert connections(silent) == 1, "one wait, not one for each try"
    assert caught.value.code == "timeout" and "key" not in caught.value.hint


def test_what_greets_and_then_says_nothing_is_waited_for_once(
        target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch) -> None:
    """paramiko ends a handshake by itself, as if sshd had hung up, which is tried six times: ours comes before it."""
    monkeypatch.setattr(login_module, "CONNECT_TIMEOUT", 1.0)
    taken: list[socket.socket] = []

    def greet() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(silent.accept()[0])
                taken[-1].sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")

    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(Unreachable, match="takes the connection and then says nothing") as caught:
            Connection(target(port=silent.getsockname()[1])).open()
        assert len(taken) == 1
        made = login_module.Timely(taken[0])
    assert made.handshake_timeout > login_module.CONNECT_TIMEOUT
    assert caught.value.code == "timeout"


def test_a_login_that_is_not_decided_in_time_is_no_refused_key() -> None:
    fault = connect_fault("cp1", Hop("nobody", "127.0.0.1", 22), paramiko.AuthenticationException(
        "Authentication timeout."))
    assert fault.code == "timeout" and "says nothing" in fault.message


@pytest.mark.parametrize("option", ["KexAlgorithms sntrup761x25519-sha512@openssh.com",
                                    "Ciphers chacha20-poly1305@openssh.com"])
def test_algorithms_that_do_not_meet_are_told_with_what_to_allow(
        option: str, target: Callable[..., Target], tmp_path: Path) -> None:
    with run_sshd(tmp_path / "strict", option) as server, pytest.raises(Unreachable, match="Incompatible") as caught:
        Connection(target(known_hosts=server.known_hosts, port=server.port, key=server.key)).open()
    assert caught.value.code == "ssh-algorithms"
    assert "KexAlgorithms +" in caught.value.hint and "Ciphers +" in caught.value.hint


def test_a_refused_key_is_an_authentication_fault(login: Login, sshd: Sshd, tmp_path: Path) -> None:
    keygen(tmp_path / "stranger")
    with pytest.raises(Unreachable) as caught:
        login(key=tmp_path / "stranger").open()
    assert caught.value.code == "ssh-auth"
    assert caught.value.hint == f"ssh-copy-id -p {sshd.port} {getpass.getuser()}@127.0.0.1", "as ssh-copy-id takes it"


def test_a_missing_key_file_is_named(login: Login, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"no private key file .*/gone") as caught:
        login(key=tmp_path / "gone").open()
    assert caught.value.code == "ssh-key-missing"


def test_a_closed_port_is_connection_refused(login: Login) -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        login(port=free_port()).open()


def test_twelve_megabytes_on_each_stream_arrive_together(login: Login) -> None:
    size = 12_000_000
    program = f"import sys\nfor s in (sys.stderr, sys.stdout): s.buffer.write(b'x' * {size})"
    done = login().run([sys.executable, "-c", program], timeout=60)
    assert (len(done.stdout), len(done.stderr)) == (size, size)


def test_input_larger_than_the_window_meets_output_larger_than_the_window(login: Login) -> None:
    data = os.urandom(8_000_000)
    assert login().run(["cat"], data, timeout=60).stdout == data


def test_a_command_that_ends_before_its_input_is_read_gives_its_status(login: Login) -> None:
    assert login().run(["sh", "-c", "exit 7"], b"x" * 8_000_000).rc == 7


def test_a_silent_command_is_given_up_at_its_deadline(login: Login) -> None:
    connection = login()
    connection.open()
    start = time.monotonic()
    with pytest.raises(Unreachable, match="running sleep 30: no answer within 0 s") as caught:
        connection.run(["sleep", "30"], timeout=0.3)
    assert caught.value.code == "command-timeout"
    assert time.monotonic() - start < 25
    assert connection.run(["true"]).rc == 0, "the connection stays usable"


def test_endless_output_is_given_up_at_its_deadline(login: Login) -> None:
    with pytest.raises(Unreachable, match="no answer"):
        login().run(["yes"], timeout=0.3)


def test_a_frozen_peer_is_found_by_the_deadline(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "STALL_TIMEOUT", 0.5)
    chunks: Iterator[bytes] = iter([b"x" * 1_000_000] * 50)
    with pytest.raises(Unreachable, match="no byte was accepted"):
        login().stream(["sleep", "20"], chunks, timeout=20)


def test_more_threads_than_sessions_share_one_connection(login: Login) -> None:
    connection = login()
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(connection.run(["sleep", "0.05"]).rc))
               for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 24


def test_a_lost_connection_names_the_host_and_reopens(login: Login) -> None:
    connection = login()
    with pytest.raises(Unreachable, match=r"cp1: running sh -c .*connection was lost") as caught:
        connection.run(["sh", "-c", "kill -9 $PPID; sleep 5"])
    assert caught.value.code == "connection-lost"
    assert wait_until(lambda: not connection.is_open, 60), "paramiko's own thread has to see it too"
    assert connection.run(["true"]).rc == 0


def test_a_connection_that_breaks_while_its_channel_is_closed_is_told_as_lost(
        login: Login, breaks_in: Callable[[str], None]) -> None:
    breaks_in("close")
    with pytest.raises(Unreachable, match="connection was lost"):
        login().run(["sh", "-c", "kill -9 $PPID; sleep 5"])


def test_a_connection_that_breaks_at_the_end_of_the_input_prints_no_traceback(
        login: Login, breaks_in: Callable[[str], None], said_by_threads: list[object]) -> None:
    breaks_in("shutdown_write")
    assert login().run(["cat"], b"x").stdout == b"x"
    assert said_by_threads == []


def test_a_jump_host_is_logged_in_to_with_its_own_pinned_key(login: Login, sshd: Sshd) -> None:
    jump = Hop(getpass.getuser(), "localhost", sshd.port)
    with pytest.raises(Unreachable, match=r"@localhost:\d+ \(jump host\): unknown host key"):
        login(jump=jump).open()
    both = sshd.known_hosts + sshd.known_hosts.replace("127.0.0.1", "localhost")
    assert login(jump=jump, known_hosts=both).run(["echo", "far"]).stdout == b"far\n"


def test_the_fast_cipher_is_agreed_on(login: Login) -> None:
    assert login().transport.remote_cipher == "aes128-gcm@openssh.com"  # type: ignore[attr-defined]


def test_a_fault_of_the_source_is_not_told_as_the_hosts(login: Login, tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        yield (tmp_path / "gone").read_bytes()
    with pytest.raises(FileNotFoundError):
        login().stream(["cat"], chunks(), timeout=60)


def test_a_jump_is_read_with_and_without_user_and_port() -> None:
    assert Hop.parse("ops@bastion:2222", "admin") == Hop("ops", "bastion", 2222)
    assert Hop.parse("bastion", "admin") == Hop("admin", "bastion", 22)


def test_root_needs_no_sudo_and_another_user_gets_it(
    target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    def fake(self: Connection, command: str, *rest: object) -> connection_module.Completed:  # type: ignore[name-defined]
        seen.append(command)
        return connection_module.Completed(0, b"", b"")  # type: ignore[attr-defined]
    monkeypatch.setattr(Connection, "_exec", fake)
    base = target()
    for user in ("admin", "root"):
        Connection(Target(base.name, base.address, base.port, user, "sudo", None, base.known_hosts_file)).run(["id"])
    assert seen == ["env LC_ALL=C sudo -n -- id", "env LC_ALL=C id"], "what sudo says is known in English only"


def test_sudo_that_asks_for_a_password_is_a_fault_with_a_hint(
    target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = connection_module.Completed(1, b"", b"sudo: a password is required\n")  # type: ignore[attr-defined]
    monkeypatch.setattr(Connection, "_exec", lambda *a: said)
    base = target()
    connection = Connection(Target("cp2", base.address, base.port, "admin", "sudo", None, base.known_hosts_file))
    with pytest.raises(Unreachable, match=r"^cp2: becoming root: sudo asks for a password$") as caught:
        connection.run(["id"])
    assert "NOPASSWD" in caught.value.hint
