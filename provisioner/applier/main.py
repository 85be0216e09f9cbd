"""The entry: COMMAND in argv, request on stdin, one JSON document on stdout."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO, Callable

from .host import Fault, Host

STALE = 16
FENCED = 14


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


# Every command imports what it needs itself: a zipapp that was sent compiles each module anew.
def _observe(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .observe import observe
    return observe(host, _request(stream))


def _apply(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .start import apply
    return apply(host, _request(stream))


def _store(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .artifacts import store
    return store(host, stream)


def _share(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .share import share
    return share(host, stream)


def _probe(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .probe import probe
    return probe(host, _request(stream))


def _inspect(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .inspect import inspect
    return inspect(host, _request(stream))


def _examine(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .examine import examine
    return examine(host, _request(stream))


def _read(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .readers import read
    return read(host, _request(stream))


def _sample(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .sample import sample
    return sample(host, _first_line(stream))


def _socket(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .sockets import rounds
    return rounds(host, _request(stream))


def _lock(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .lock_record import lock
    return lock(host, _request(stream))


def _fence(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .fence import fence
    return fence(host, _request(stream))


def _steps(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .steps import known
    return known(host, _request(stream))


def _note(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .notes import note
    return note(host, _request(stream))


def _notes(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .notes import notes
    return notes(host)


def _own(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .owned import own
    return own(host, _request(stream))


def _forget(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .owned import forget
    return forget(host, _request(stream))


def _kept(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .back import kept
    return kept(host, _request(stream))


def _reach(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .reach import reach
    return reach(host, _first_line(stream))


def _journal(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .journald import journal
    return journal(host, _request(stream))


def _os(host: Host, stream: BinaryIO) -> dict[str, Any]:
    from .os_state import state
    return state(host, _request(stream))


COMMANDS: dict[str, Callable[[Host, BinaryIO], dict[str, Any]]] = {
    "observe": _observe, "apply": _apply, "store": _store, "share": _share, "probe": _probe, "inspect": _inspect,
    "examine": _examine, "read": _read,
    "sample": _sample, "socket": _socket, "lock": _lock, "fence": _fence, "steps": _steps,
    "note": _note, "notes": _notes, "kept": _kept, "own": _own, "forget": _forget, "journal": _journal,
    "reach": _reach, "os": _os,
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
        answer = COMMANDS[words[0]](host, sys.stdin.buffer)
    except (Fault, OSError, ValueError) as fault:
        sys.stderr.write(f"applier: {fault}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return {"stale": STALE, "fenced": FENCED}.get(str(answer.get("status")), 0)
