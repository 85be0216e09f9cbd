"""A local port that ends on the far side."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.transport.connection import Connection
from provisioner.transport.faults import HostFault
from provisioner.transport.target import Hop, Target
from provisioner.transport.tunnel import Tunnel, require_forwarding
from tests.fakes.sshd import free_port, run_sshd
from tests.unit.transport.conftest import Login


@pytest.fixture
def echo() -> Iterator[int]:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    def answer(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while data := client.recv(65536):
                client.sendall(data)
    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


def exchange(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, 10) as client:
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        back = bytearray()
        while chunk := client.recv(65536):
            back += chunk
        sender.join()
    return bytes(back)


def test_bytes_pass_both_ways_and_ends_are_passed_on(login: Login, echo: int) -> None:
    data = os.urandom(1_000_000)
    with Tunnel(login(), "127.0.0.1", echo) as way:
        address = way.address
        assert exchange(address, data) == data


def test_many_clients_share_one_tunnel(login: Login, echo: int) -> None:
    results: list[bool] = []
    with Tunnel(login(), "127.0.0.1", echo) as way:
        address = way.address
        def client(data: bytes) -> None:
            results.append(exchange(address, data) == data)
        threads = [threading.Thread(target=client, args=(b"%d" % n * 999,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [True] * 20


def test_leaving_ends_threads_and_clients(login: Login, echo: int) -> None:
    connection = login()
    connection.open()
    with Tunnel(connection, "127.0.0.1", echo) as way:
        address = way.address
        client = socket.create_connection(address, 10)
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    assert client.recv(1) == b""
    client.close()
    assert not [t for t in threading.enumerate() if t.name == "ssh-tunnel"]
    with pytest.raises(OSError):
        socket.create_connection(address, 1)


def test_a_closed_port_on_the_far_side_closes_the_client(login: Login) -> None:
    with Tunnel(login(), "127.0.0.1", free_port()) as way, socket.create_connection(way.address, 10) as client:
        assert client.recv(1) == b""


def test_a_connection_that_breaks_in_mid_stream_closes_the_client_and_says_nothing(
        login: Login, echo: int, breaks_in: Callable[[str], None], said_by_threads: list[object]) -> None:
    breaks_in("close")
    connection = login()
    with Tunnel(connection, "127.0.0.1", echo) as way, socket.create_connection(way.address, 10) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        connection.transport.close()
        assert client.recv(1) == b""
    assert said_by_threads == []


class Ending:
    """A channel whose last bytes and end arrive right after the first look at it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._looks, self._data = descriptor, 0, b"last"

    def fileno(self) -> int:
        return self._descriptor

    def settimeout(self, seconds: float) -> None:
        pass

    def _arrived(self) -> bool:
        self._looks += 1
        return self._looks > 1

    closed = False
    eof_received = property(lambda self: self._arrived())

    def recv_ready(self) -> bool:
        return self._arrived() and bool(self._data)

    def recv(self, size: int) -> bytes:
        data, self._data = self._data, b""
        return data


def test_the_last_bytes_are_passed_on_that_come_with_the_end() -> None:
    readable, other = socket.socketpair()
    here, client = socket.socketpair()
    with readable, other, here, client:
        other.sendall(b"x")
        Tunnel(None, "127.0.0.1", 1)._pump(client, Ending(readable.fileno()))  # type: ignore[arg-type]
        here.settimeout(10)
        assert here.recv(10) == b"last"


@pytest.mark.parametrize("option", ["AllowTcpForwarding no", "DisableForwarding yes", "PermitOpen 127.0.0.1:1"])
def test_an_sshd_that_forbids_forwarding_is_told_to_whoever_uses_the_tunnel(
        option: str, target: Callable[..., Target], tmp_path: Path, echo: int) -> None:
    with run_sshd(tmp_path / "hard", option) as hard, Connection(
            target(known_hosts=hard.known_hosts, port=hard.port, key=hard.key)) as connection:
        with Tunnel(connection, "127.0.0.1", echo) as way:
            assert exchange(way.address, b"") == b""
            refusal = way.refusal()
        assert refusal is not None
        assert (refusal.code, refusal.exit_code) == ("forwarding-forbidden", 12)
        assert refusal.saw == "sshd forbids forwarding (AllowTcpForwarding/DisableForwarding/PermitOpen)"
        assert "AllowTcpForwarding local" in refusal.hint
        with pytest.raises(HostFault, match="sshd forbids forwarding"):
            require_forwarding(connection, echo)


def test_a_port_where_nobody_listens_is_not_a_forbidden_one(login: Login) -> None:
    connection = login()
    with Tunnel(connection, "127.0.0.1", free_port()) as way:
        assert exchange(way.address, b"") == b""
        assert way.refusal() is None
    require_forwarding(connection, free_port())


def test_a_jump_host_that_forbids_forwarding_is_told_as_that(target: Callable[..., Target], tmp_path: Path) -> None:
    with run_sshd(tmp_path / "hard", "AllowTcpForwarding no") as hard:
        base = target(known_hosts=hard.known_hosts, key=hard.key, port=free_port(),
                      jump=Hop(getpass.getuser(), "127.0.0.1", hard.port))
        with pytest.raises(HostFault, match="the jump host's sshd forbids forwarding") as caught:
            Connection(base).open()
    assert caught.value.code == "forwarding-forbidden"
