"""One DNS question over UDP, and the addresses of its answer: RFC 1035, sections 4.1 and 4.2.1."""

from __future__ import annotations

import os
import socket
import struct

from .host import Fault

_A, _IN = 1, 1


def ask(server: str, name: str, timeout: float) -> list[str]:
    """Return the IPv4 addresses that `server` gives for `name`; Fault says what else it answered."""
    question_id = os.urandom(2)
    labels = b"".join(bytes([len(part)]) + part.encode("ascii") for part in name.rstrip(".").split("."))
    # One question, recursion desired.
    query = question_id + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", _A, _IN)
    with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.settimeout(timeout)
        channel.connect((server, 53))
        channel.send(query)
        answer = channel.recv(4096)
    try:
        return addresses(answer, question_id)
    except (IndexError, struct.error):
        raise Fault(f"an answer of {len(answer)} bytes that is no DNS message") from None


def addresses(answer: bytes, question_id: bytes) -> list[str]:
    """Read the A records of a DNS message."""
    if answer[:2] != question_id:
        raise Fault("an answer to another question")
    flags, questions, records = struct.unpack("!HHH", answer[2:8])
    if flags & 0x000F:
        raise Fault(f"rcode {flags & 0x000F}")
    position = 12
    for _ in range(questions):
        position = _skip_name(answer, position) + 4
    found = []
    for _ in range(records):
        position = _skip_name(answer, position)
        kind, _class, _ttl, length = struct.unpack("!HHIH", answer[position:position + 10])
        position += 10
        if kind == _A and length == 4:
            found.append(socket.inet_ntoa(answer[position:position + 4]))
        position += length
    return found


def _skip_name(answer: bytes, position: int) -> int:
    while True:
        length = answer[position]
        if length >= 0xC0:          # a pointer ends the name
            return position + 2
        position += 1 + length
        if length == 0:
            return position
