"""`reach` as a process of its own, with real sockets on loopback: what is tried, what is told, and what is left."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import inspect, package, reach, tries
from provisioner.applier.host import Host
from provisioner.lab.processes import wait_until

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets are root's")
TOKEN = "5a" * tries.TOKEN


class Talk:
    """One host's half: what it told, line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.told: list[dict[str, Any]] = []

    def until(self, key: str) -> dict[str, Any]:
        assert self.process.stdout
        while not any(key in line for line in self.told):
            line = self.process.stdout.readline()
            assert line, self.told
            self.told.append(json.loads(line))
        return next(line for line in self.told if key in line)

    def tries(self, *probes: dict[str, Any]) -> list[dict[str, Any]]:
        """Let it try all, and return what it told, in the order asked."""
        assert self.process.stdin
        numbered = [{"id": n, "address": "127.0.0.1", "port": 0, **one} for n, one in enumerate(probes)]
        self.process.stdin.write(json.dumps({"reach": numbered}).encode() + b"\n")
        self.process.stdin.flush()
        self.until("all")
        found = {line["tried"]["id"]: line["tried"] for line in self.told if "tried" in line}
        return [found[n] for n in range(len(probes))]

    def ends(self) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        *_, last = self.process.stdout
        assert self.process.wait(20) == 0
        return dict(json.loads(last))


@contextlib.contextmanager
def talking(**request: Any) -> Iterator[Talk]:
    argv = package.argv("reach")
    process = subprocess.Popen([sys.executable, *argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    with process:
        assert process.stdin
        process.stdin.write(package.frame({"token": TOKEN, "address": "127.0.0.1", **request}))
        process.stdin.flush()
        try:
            yield Talk(process)
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def on(*listen: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"protocol": protocol, "port": port} for protocol, port in listen]


def connects(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_a_listener_of_ours_is_reached_and_a_port_without_one_refuses() -> None:
    port, closed = free_port(), free_port()
    with talking(listen=on(("tcp", port))) as talk:
        assert talk.until("listening")["listening"] == [["tcp", port, "ours"]]
        reached, refused = talk.tries({"protocol": "tcp", "port": port, "times": 5},
                                      {"protocol": "tcp", "port": closed})
        assert (reached["ok"], reached["lost"], reached["of"], len(reached["ms"])) == (True, 0, 5, 5)
        assert refused == {"id": 1, "ok": False, "why": "refused"}
        assert talk.ends() == {"end": "asked", "vrrp": []}
    assert not connects(port)


def test_who_listens_already_is_connected_to_and_left_alone() -> None:
    with socket.socket() as theirs:
        theirs.bind(("127.0.0.1", 0))
        theirs.listen()
        port = theirs.getsockname()[1]
        with talking(listen=on(("tcp", port))) as talk:
            assert talk.until("listening")["listening"] == [["tcp", port, "theirs"]]
            assert talk.tries({"protocol": "tcp", "port": port})[0]["ok"] is True
            talk.ends()
        assert connects(port)


def test_a_listener_of_ours_is_nobody_s_that_is_in_the_way() -> None:
    port = free_port()
    with talking(listen=on(("tcp", port))) as talk:
        talk.until("listening")
        assert connects(port)
        assert inspect.listeners(Host(), [port]) == []


def test_an_address_that_the_host_has_not_is_said() -> None:
    with talking(address="203.0.113.7", listen=on(("tcp", free_port()))) as talk:
        assert talk.until("listening")["listening"][0][2] == "Cannot assign requested address"


def test_a_full_connection_queue_is_told_as_timed_out() -> None:
    """Linux drops what would be one connection too many: to who connects, as a firewall that drops."""
    with socket.socket() as deaf, contextlib.ExitStack() as kept:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        for _ in range(3):
            waiting = kept.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        with talking() as talk:
            talk.until("listening")
            assert talk.tries({"protocol": "tcp", "port": port, "timeout": 0.3}) == [
                {"id": 0, "ok": False, "why": "timed out"}]


def test_a_datagram_of_full_size_comes_back_and_a_stranger_gets_no_answer() -> None:
    port = free_port()
    with talking(listen=on(("udp", port))) as talk:
        talk.until("listening")
        assert talk.tries({"protocol": "udp", "port": port, "size": 1500}) == [{"id": 0, "ok": True, "passes": 1500}]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.settimeout(0.3)
            stranger.sendto(b"x" * 64, ("127.0.0.1", port))
            with pytest.raises(TimeoutError):
                stranger.recv(64)
        talk.ends()


def test_a_datagram_to_nobody_is_refused() -> None:
    with talking() as talk:
        talk.until("listening")
        assert talk.tries({"protocol": "udp", "port": free_port(), "size": 1500})[0]["why"] == "refused"


@ROOT
def test_an_echo_of_the_kernel_takes_the_place_of_a_listener() -> None:
    with talking() as talk:
        talk.until("listening")
        assert talk.tries({"protocol": "icmp", "size": 1501}) == [{"id": 0, "ok": True, "passes": 1501}]


@ROOT
def test_an_advertisement_is_told_by_who_heard_it_and_known_from_others() -> None:
    with talking(listen=on(("vrrp", 0))) as talk:
        assert talk.until("listening")["listening"] == [["vrrp", 0, "ours"]]
        assert talk.tries({"protocol": "vrrp", "router": 245, "from": "127.0.0.9"})[0]["ok"] is True
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, tries.VRRP) as other:
            other.bind(("127.0.0.8", 0))
            other.sendto(tries.vrrp_packet(10, b""), ("127.0.0.1", 0))
        assert talk.ends()["vrrp"] == [["127.0.0.9", 245, True, 3], ["127.0.0.8", 10, False, 1]]


def test_all_that_has_come_is_told_in_one_look_however_late_that_is(tmp_path: Path) -> None:
    listeners = reach.Listeners("127.0.0.1", b"\x5a" * tries.TOKEN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:      # what is sent has come at once
        ours.bind(str(tmp_path / "ours"))
        other.bind(str(tmp_path / "other"))
        ours.setblocking(False)
        listeners._selector.register(ours, selectors.EVENT_READ, listeners._vrrp)
        for _ in range(3):
            other.sendto(b"\x45" + b"\0" * 19 + tries.vrrp_packet(10, b""), str(tmp_path / "ours"))
        assert [row[1:] for row in listeners.heard()] == [[10, False, 3]]


@pytest.mark.parametrize("most", [1400, 577, 1499, 576])
def test_the_largest_packet_that_passes_is_found(most: int) -> None:
    asked: list[int] = []
    assert tries.largest(lambda size: bool(asked.append(size) or size <= most), 576, 1500) == most
    assert len(asked) <= 12


def test_where_not_even_a_small_one_passes_it_is_zero() -> None:
    assert tries.largest(lambda size: False, 576, 1500) == 0


def test_an_advertisement_is_one_that_routers_read() -> None:
    packet = tries.vrrp_packet(245, b"\x5a" * 16)
    header = b"\x45" + b"\0" * 19
    assert tries.vrrp_of(header + packet) == (245, packet)
    assert tries.vrrp_of(header + b"\x45" + packet[1:]) == (None, b"\x45" + packet[1:])
    assert sum(struct.unpack(f"!{len(packet) // 2}H", packet)) % 0xFFFF == 0, "its checksum holds"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_killed_in_the_middle_it_leaves_no_listener_and_no_file(how: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    disk = {"directory": str(tmp_path / "etcd"), "seconds": 10}
    with talking(listen=on(("tcp", port), ("udp", port)), fsync=disk) as talk:
        talk.until("listening")
        assert connects(port)
        talk.process.send_signal(how)
        talk.process.wait(10)
    assert not connects(port)
    assert list(tmp_path.iterdir()) == []


def test_it_ends_when_nobody_says_a_word_any_more() -> None:
    port = free_port()
    with talking(listen=on(("tcp", port)), patience=0.3) as talk:
        assert talk.until("end")["end"] == "nobody asks"
        assert talk.process.wait(10) == 0
    assert not connects(port)


def test_it_ends_after_its_time_however_alive_the_other_side_is() -> None:
    with talking(seconds=0.3) as talk:
        assert talk.process.stdin
        talk.process.stdin.write(b"\n")
        talk.process.stdin.flush()
        assert talk.until("end")["end"] == "time"


def test_it_ends_when_nobody_reads() -> None:
    port = free_port()
    with talking(listen=on(("tcp", port))) as talk:
        talk.until("listening")
        assert talk.process.stdout and talk.process.stdin
        talk.process.stdout.close()
        talk.process.stdin.write(json.dumps({"reach": []}).encode() + b"\n")
        talk.process.stdin.flush()
        assert wait_until(lambda: talk.process.poll() is not None, 10)
    assert not connects(port)


def test_what_it_does_not_know_is_refused() -> None:
    with talking(listen=on(("sctp", 1))) as talk:
        assert talk.process.stderr
        assert talk.process.stderr.read() == b"applier: unknown protocol: 'sctp'\n"
        assert talk.process.wait(10) == 1


def test_a_large_packet_that_was_lost_once_is_not_too_large() -> None:
    class Lossy:
        """Loses the first two of every size, and those that the path does not take."""

        def __init__(self, most: int) -> None:
            self.most, self.asked = most, dict[int, int]()

        def asks(self, token: bytes, number: int, size: int, seconds: float) -> bool:
            self.asked[size] = self.asked.get(size, 0) + 1
            return size <= self.most and (size != 1500 or self.asked[size] > 2)

    assert tries._sized(Lossy(1500), {"size": 1500}, b"") == {"ok": True, "passes": 1500}  # type: ignore[arg-type]
    assert tries._sized(Lossy(1400), {"size": 1500}, b"") == {"ok": True, "passes": 1400}  # type: ignore[arg-type]
