"""The DNS probe reads real answers and refuses everything else."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from provisioner.applier import dns
from provisioner.applier.host import Fault


class Server:
    """What the server of a test answers, and where it listens."""

    port = 0
    rcode = 0
    records: tuple[str, ...] = ("10.96.0.1",)
    spoof = False


@pytest.fixture
def server() -> Iterator[Server]:
    """A DNS server of one name: echoes the question and answers with `server.records` or `server.rcode`."""
    state, channel = Server(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind(("127.0.0.1", 0))
    state.port = channel.getsockname()[1]

    def serve() -> None:
        try:
            query, peer = channel.recvfrom(512)
        except OSError:
            return
        if not query:
            return
        name = b"\xc0\x0c"
        body = b"".join(name + struct.pack("!HHIH", 1, 1, 5, 4) + socket.inet_aton(a) for a in state.records)
        head = (b"xx" if state.spoof else query[:2]) + struct.pack("!HHHHH", 0x8180 | state.rcode, 1,
                                                                  len(state.records), 0, 0)
        channel.sendto(head + query[12:] + body, peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield state
    channel.sendto(b"", ("127.0.0.1", state.port))      # wakes the thread where no question came
    thread.join(5)
    channel.close()


@pytest.fixture(autouse=True)
def on_its_port(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket.connect
    def connect(self: socket.socket, address: Any) -> None:
        real(self, (address[0], server.port))

    monkeypatch.setattr(socket.socket, "connect", connect, False)


def ask() -> list[str]:
    return dns.ask("127.0.0.1", "kubernetes.default.svc.cluster.local", 20.0)


def test_an_answer_gives_its_addresses(server: Server) -> None:
    server.records = ("10.96.0.1", "10.96.0.2")
    assert ask() == ["10.96.0.1", "10.96.0.2"]


def test_an_unknown_name_is_a_fault_with_its_rcode(server: Server) -> None:
    server.rcode, server.records = 3, ()
    with pytest.raises(Fault, match="rcode 3"):
        ask()


def test_an_answer_to_another_question_is_refused(server: Server) -> None:
    server.spoof = True
    with pytest.raises(Fault, match="another question"):
        ask()


def test_a_short_message_is_a_fault() -> None:
    with pytest.raises((Fault, struct.error, IndexError)):
        dns.addresses(b"ab\x81\x80\0\1\0\1\0\0\0\0\3www", b"ab")


def test_a_server_is_asked_in_the_family_of_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    families = []

    def none(family: int, kind: int) -> socket.socket:
        families.append(family)
        raise OSError("none here")

    monkeypatch.setattr(socket, "socket", none)
    for server in ("2001:db8::53", "fe80::1%eth0", "192.0.2.53"):
        with pytest.raises(OSError, match="none here"):
            dns.ask(server, "x.invalid", 1.0)
    assert families == [socket.AF_INET6, socket.AF_INET6, socket.AF_INET]
