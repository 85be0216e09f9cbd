"""The entry: COMMAND in argv, request on stdin, one JSON document on stdout."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO, Callable

from .host import Fault, Host

STALE = 16
FENCED = 14
Command = Callable[[Host, BinaryIO], dict[str, Any]]
"""Reads its request from stdin, and answers."""


def _request(stream: BinaryIO) -> dict[str, Any]:
    return _object(stream.read())


def _first_line(stream: BinaryIO) -> dict[str, Any]:
    """Return the request of a command for which stdin stays open."""
    return _object(stream.readline())


def _object(data: bytes) -> dict[str, Any]:
    request = json.loads(data or b"{}")
    if not isinstance(request, dict):
        raise Fault("the request is not a JSON object")
    return request


# Every command loads what it needs itself: a zipapp that was sent compiles each module anew.
def _observe() -> Command:
    from .observe import observe
    return lambda host, stream: observe(host, _request(stream))


def _apply() -> Command:
    from .start import apply
    return lambda host, stream: apply(host, _request(stream))


def _store() -> Command:
    from .artifacts import store
    return store


def _share() -> Command:
    from .share import share
    return share


def _probe() -> Command:
    from .probe import probe
    return lambda host, stream: probe(host, _request(stream))


def _inspect() -> Command:
    from .inspect import inspect
    return lambda host, stream: inspect(host, _request(stream))


def _examine() -> Command:
    from .examine import examine
    return lambda host, stream: examine(host, _request(stream))


def _read() -> Command:
    from .readers import read
    return lambda host, stream: read(host, _request(stream))


def _sample() -> Command:
    from .sample import sample
    return lambda host, stream: sample(host, _first_line(stream))


def _socket() -> Command:
    from .sockets import rounds
    return lambda host, stream: rounds(host, _request(stream))


def _lock() -> Command:
    from .lock_record import lock
    return lambda host, stream: lock(host, _request(stream))


def _fence() -> Command:
    from .fence import fence
    return lambda host, stream: fence(host, _request(stream))


def _steps() -> Command:
    from .steps import known
    return lambda host, stream: known(host, _request(stream))


def _note() -> Command:
    from .notes import note
    return lambda host, stream: note(host, _request(stream))


def _notes() -> Command:
    from .notes import notes
    return lambda host, stream: notes(host)


def _own() -> Command:
    from .owned import own
    return lambda host, stream: own(host, _request(stream))


def _forget() -> Command:
    from .owned import forget
    return lambda host, stream: forget(host, _request(stream))


def _kept() -> Command:
    from .back import kept
    return lambda host, stream: kept(host, _request(stream))


def _reach() -> Command:
    from .reach import reach
    return lambda host, stream: reach(host, _first_line(stream))


def _journal() -> Command:
    from .journald import journal
    return lambda host, stream: journal(host, _request(stream))


def _serve() -> Command:
    from .serve import serve
    return serve


def _os() -> Command:
    from .os_state import state
    return lambda host, stream: state(host, _request(stream))


COMMANDS: dict[str, Callable[[], Command]] = {
    "observe": _observe, "apply": _apply, "store": _store, "share": _share, "probe": _probe, "inspect": _inspect,
    "examine": _examine, "read": _read,
    "sample": _sample, "socket": _socket, "lock": _lock, "fence": _fence, "steps": _steps,
    "note": _note, "notes": _notes, "kept": _kept, "own": _own, "forget": _forget, "journal": _journal,
    "reach": _reach, "os": _os, "serve": _serve,
}


def _options(argv: list[str]) -> tuple[Host, list[str]]:
    if argv[:1] == ["--root"] and len(argv) > 1:
        return Host(argv[1]), argv[2:]
    return Host(), argv


def main(argv: list[str]) -> int:
    """Run one command and return the exit status: 0 answered, 16 stale, 14 of an older epoch, 1 our own fault."""
    os.umask(0o022)
    try:
        host, words = _options(argv)
        if words[:1] == ["step"] and len(words) == 2:
            from .steps import run
            run(host, words[1])
            return 0
        if len(words) != 1 or words[0] not in COMMANDS:
            raise Fault(f"unknown command: {' '.join(words)!r}")
        answer = COMMANDS[words[0]]()(host, sys.stdin.buffer)
    except (Fault, OSError, ValueError) as fault:
        sys.stderr.write(f"applier: {fault}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return {"stale": STALE, "fenced": FENCED}.get(str(answer.get("status")), 0)
