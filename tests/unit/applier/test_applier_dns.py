"""The DNS probe reads real answers and refuses everything else."""

import socket
import struct
import threading

import pytest

from provisioner.applier import dns
from provisioner.applier.host import Fault


@pytest.fixture
def server():
    """A DNS server of one name: echoes the question and answers with `server.records` or `server.rcode`."""

    class Server:
        rcode = 0
        records = ("10.96.0.1",)
        spoof = False

    state, channel = Server(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind(("127.0.0.1", 0))
    state.port = channel.getsockname()[1]

    def serve():
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
def on_its_port(server, monkeypatch):
    real = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: real(self, (address[0], server.port)), False)


def ask():
    return dns.ask("127.0.0.1", "kubernetes.default.svc.cluster.local", 20.0)


def test_an_answer_gives_its_addresses(server):
    server.records = ("10.96.0.1", "10.96.0.2")
    assert ask() == ["10.96.0.1", "10.96.0.2"]


def test_an_unknown_name_is_a_fault_with_its_rcode(server):
    server.rcode, server.records = 3, ()
    with pytest.raises(Fault, match="rcode 3"):
        ask()


def test_an_answer_to_another_question_is_refused(server):
    server.spoof = True
    with pytest.raises(Fault, match="another question"):
        ask()


def test_a_short_message_is_a_fault():
    with pytest.raises((Fault, struct.error, IndexError)):
        dns.addresses(b"ab\x81\x80\0\1\0\1\0\0\0\0\3www", b"ab")
