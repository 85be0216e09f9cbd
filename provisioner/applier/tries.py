"""One try to reach another host, by each protocol that hosts of a cluster use between them."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from typing import Any, Callable, Mapping, Optional

TOKEN = 16                      # bytes by which a packet of ours is known
HEAD = TOKEN + 4                # the token and a number
VRRP = 112                      # RFC 5798: its protocol, where all routers hear, and the shortest packet of it
ROUTERS = "224.0.0.18"
VRRP_SENT = 3                   # packets: one may be lost
TIMEOUT = 2.0                   # seconds for a connection: Linux sends its request again after one
# A network that loses a fifth of the packets is no firewall: 1 of 60 connections fails so, 1 of 160 echoes.
FIRST = 2                       # connections that fail before there is no way
ANSWER = 0.6                    # seconds for an echo, and how often it is asked for
TIMES = 5
SIZED, SIZED_TIMES = 0.4, 2     # seconds for the echo of a large packet, when small ones are answered
IP_UDP = 28                     # bytes of the headers of IP and of UDP, or of ICMP's echo
SMALLEST = 576                  # bytes that every IPv4 host takes whole: RFC 791
_MTU_DISCOVER, _PROBE = 10, 3   # linux/in.h: IP_MTU_DISCOVER; IP_PMTUDISC_PROBE: don't fragment, whatever is known
_TCP_INFO, _RTT, _RETRANSMITS = 11, 68, 100     # linux/tcp.h: offsets in struct tcp_info, of 32 bits each
_LINGER = struct.pack("ii", 1, 0)               # end by a reset: neither side keeps the port in TIME_WAIT
Said = dict[str, Any]


def tried(one: Mapping[str, Any], token: bytes) -> Said:
    """Return what a try found: `ok`, with `why` where not, and what its protocol tells beside."""
    try:
        return KINDS[one["protocol"]](one, token)
    except OSError as fault:
        return {"ok": False, "why": words(fault)}


def words(fault: OSError) -> str:
    """Return `refused`, `timed out`, or what the kernel says of a way that there is not."""
    if isinstance(fault, ConnectionRefusedError):
        return "refused"
    if isinstance(fault, TimeoutError) or fault.args == ("timed out",):
        return "timed out"
    return f"unreachable: {fault.strerror or fault}"


def _tcp(one: Mapping[str, Any], token: bytes) -> Said:
    """Connect a few times. Time and loss are the kernel's own: a busy machine is no slow network."""
    took: list[float] = []
    lost, times = 0, int(one.get("times", 1))
    for _ in range(times):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as way:
            way.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            way.settimeout(float(one.get("timeout", TIMEOUT)))
            try:
                way.connect((one["address"], int(one["port"])))
            except OSError as fault:
                lost += 1
                if not took and (lost == min(FIRST, times) or words(fault) != "timed out"):
                    return {"ok": False, "why": words(fault)}
                continue
            info = way.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 192)
        again, rtt = (struct.unpack_from("=I", info, at)[0] for at in (_RETRANSMITS, _RTT))
        if again:
            lost += 1
        else:
            took.append(rtt / 1000)
    return {"ok": True, "ms": took, "lost": lost, "of": times}


class _Echo:
    """A way on which what is sent comes back, with packets that may not be fragmented."""

    def __init__(self, way: socket.socket, address: str, port: int) -> None:
        self.way = way
        way.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _PROBE)
        way.setblocking(False)
        way.connect((address, port))

    def packet(self, head: bytes, size: int) -> bytes:
        """Return what makes an IP packet of `size` bytes."""
        return head.ljust(size - IP_UDP, b"\0")

    def head(self, data: bytes) -> bytes:
        """Return the head of what came back, nothing where it is none of ours."""
        return data[:HEAD]

    def asks(self, token: bytes, number: int, size: int, seconds: float) -> bool:
        """Say whether a packet of `size` bytes came back."""
        head = token + struct.pack("!I", number)
        try:
            self.way.send(self.packet(head, size))
        except OSError as fault:
            if isinstance(fault, ConnectionRefusedError):
                raise
            return False        # larger than the interface, or than the way that the kernel knows
        until = time.monotonic() + seconds
        while select.select([self.way], [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                if self.head(self.way.recv(65536)) == head:
                    return True
            except ConnectionRefusedError:
                raise
            except OSError:     # the network says that it was too large
                return False
        return False


class _Icmp(_Echo):
    """The echo that every kernel answers, unless a firewall takes it away."""

    def packet(self, head: bytes, size: int) -> bytes:
        body = head.ljust(size - IP_UDP, b"\0")
        return _summed(struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1) + body, 2)

    def head(self, data: bytes) -> bytes:
        answer = data[(data[0] & 0xF) * 4:] if data else b""
        return answer[8:8 + HEAD] if answer[:1] == b"\0" else b""


def _udp(one: Mapping[str, Any], token: bytes) -> Said:
    """Ask the listener; where the port is closed, what the path takes is asked by the kernel's echo all the same."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            said = _sized(_Echo(way, one["address"], int(one["port"])), one, token)
    except OSError as fault:
        said = {"ok": False, "why": words(fault)}
    if not said["ok"] and one.get("size"):
        said.update({key: size for key, size in tried({**one, "protocol": "icmp"}, token).items() if key == "passes"})
    return said


def _icmp(one: Mapping[str, Any], token: bytes) -> Said:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as way:
        return _sized(_Icmp(way, one["address"], 0), one, token)


def _sized(echo: _Echo, one: Mapping[str, Any], token: bytes) -> Said:
    """Ask with a small packet, then with one of the wanted size; where that is lost, find the largest that is not."""
    numbers = iter(range(1 << 30))
    if not any(echo.asks(token, next(numbers), HEAD + IP_UDP, ANSWER) for _ in range(TIMES)):
        return {"ok": False, "why": "timed out"}
    size = int(one.get("size", 0))
    if not size:
        return {"ok": True}

    def passes(bytes_: int) -> bool:
        return any(echo.asks(token, next(numbers), bytes_, SIZED) for _ in range(SIZED_TIMES))

    if passes(size):
        return {"ok": True, "passes": size}
    most = largest(passes, SMALLEST, size)
    return {"ok": True, "passes": size if passes(size) or passes(size) else most}     # it was lost, not too large


def largest(passes: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest size that passes, of those from `low` up to below `high`; 0 where not even `low` does."""
    if not passes(low):
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low


def _vrrp(one: Mapping[str, Any], token: bytes) -> Said:
    """Send a few packets; whether they came is told by the one that they are for.

    Their router id is none of ours, so a keepalived that runs there leaves them alone.
    """
    time.sleep(float(one.get("delay", 0.0)))    # so that a packet of one's own opens no firewall for the other's
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, VRRP) as way:
        way.bind((str(one["from"]), 0))
        for _ in range(VRRP_SENT):
            way.sendto(vrrp_packet(int(one["router"]), token), (one["address"], 0))
    return {"ok": True}


def vrrp_packet(router: int, token: bytes) -> bytes:
    """Return an advertisement of nothing by the lowest priority, with our token behind it."""
    return _summed(struct.pack("!BBBBHH", 0x31, router, 1, 0, 100, 0) + token, 6)


def vrrp_of(packet: bytes) -> tuple[Optional[int], bytes]:
    """Return the router id and the whole of an advertisement in an IP packet, None where it is none."""
    body = packet[(packet[0] & 0xF) * 4:] if packet else b""
    return (body[1] if len(body) >= 8 and body[0] in (0x21, 0x31) else None), body


def _summed(data: bytes, at: int) -> bytes:
    """Return data with its Internet checksum (RFC 1071) written at `at`."""
    even = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + struct.pack("!H", ~total & 0xFFFF) + data[at + 2:]


KINDS: Mapping[str, Callable[[Mapping[str, Any], bytes], Said]] = {
    "tcp": _tcp, "udp": _udp, "icmp": _icmp, "vrrp": _vrrp}
