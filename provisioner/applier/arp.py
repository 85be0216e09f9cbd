"""Who else has an address? Asked of the segment by ARP, as RFC 5227 has it: without an address of our own."""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Optional

PROTOCOL = 0x0806
LISTENS = 0.4           # seconds in all; whoever has the address answers within a millisecond or two
PROBES = 2
_HEAD = struct.Struct("!HHBBH6s4s6s4s")


class Probe:
    """A question to the segment of one interface; ask first, do something else, then hear."""

    def __init__(self, interface: str, address: str) -> None:
        self._address = socket.inet_aton(address)
        self._socket: Optional[socket.socket] = None
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(PROTOCOL))
            self._socket.bind((interface, PROTOCOL))
            self._own = bytes(self._socket.getsockname()[4])[:6]
            for _ in range(PROBES):
                self._socket.send(question(self._own, self._address))
        except OSError:         # no such interface, one without ARP, or no right to it: nobody was asked
            self.close()
        self._until = time.monotonic() + LISTENS

    def heard(self) -> Optional[list[str]]:
        """Return the hardware addresses that have answered, None where nobody could be asked."""
        if self._socket is None:
            return None
        found: set[str] = set()
        while True:
            ready, _, _ = select.select([self._socket], [], [], max(0.0, self._until - time.monotonic()))
            if not ready:
                return sorted(found)
            sender = holder(self._socket.recv(128), self._address)
            if sender and sender != self._own:
                found.add(sender.hex(":"))

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def question(own: bytes, address: bytes) -> bytes:
    """Return the Ethernet frame that asks everybody who has `address`."""
    return b"\xff" * 6 + own + struct.pack("!H", PROTOCOL) + _HEAD.pack(
        1, 0x0800, 6, 4, 1, own, bytes(4), bytes(6), address)


def holder(frame: bytes, address: bytes) -> bytes:
    """Return the hardware address of who says in this frame that `address` is theirs, else nothing."""
    if len(frame) < 14 + _HEAD.size:
        return b""
    _, _, hardware, protocol, _, sender, claimed, _, _ = _HEAD.unpack_from(frame, 14)
    return bytes(sender) if (hardware, protocol) == (6, 4) and claimed == address else b""
