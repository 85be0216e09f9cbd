"""`socket`: ask a program that listens at a unix socket; each line on a connection of its own, until the other side
closes it, as such programs' command lines want it."""

from __future__ import annotations

import re
import socket
import time
from typing import Any, Mapping

from .host import Fault, Host, caller_gone

TIMEOUT = 5.0
LIMIT = 4 << 20


def rounds(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask all lines once, or again every `every` seconds until `for` seconds lie between first and last.

    The later rounds ask `again` instead, where it is given; they end early once a round matches all of `until`.
    """
    path, lines = request["path"], request["lines"]
    again = request.get("again", lines)
    until = [re.compile(pattern, re.MULTILINE) for pattern in request.get("until", ())]
    span, every = float(request.get("for", 0)), float(request.get("every", 0.25))
    answers = [[ask(host, path, line) for line in lines]]
    began = asked = time.monotonic()
    while asked - began < span and not _is_so(until, answers[-1]) and not caller_gone():
        time.sleep(max(0.0, min(every, began + span - time.monotonic())))
        asked = time.monotonic()
        answers.append([ask(host, path, line) for line in again])
    return {"rounds": answers, "seconds": round(time.monotonic() - began, 3)}


def _is_so(until: list[re.Pattern[str]], answers: list[str]) -> bool:
    return bool(until) and all(pattern.search("\n".join(answers)) for pattern in until)


def ask(host: Host, path: str, line: str) -> str:
    """Send one line and return all that comes back; OSError where nobody listens, Fault where the answer has no end."""
    if "\n" in line or "\r" in line:
        raise Fault(f"{path}: more than one line: {line!r}")
    deadline = time.monotonic() + TIMEOUT
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(TIMEOUT)
        stream.connect(host.at(path))
        stream.sendall(line.encode() + b"\n")
        parts: list[bytes] = []
        size = 0
        while True:
            stream.settimeout(max(0.01, deadline - time.monotonic()))
            part = stream.recv(1 << 16)
            if not part:
                return b"".join(parts).decode(errors="replace")
            parts.append(part)
            size += len(part)
            if size > LIMIT or time.monotonic() > deadline:
                raise Fault(f"{path}: {line!r}: no end of the answer after {size} bytes in {TIMEOUT:g} s")
