"""The console: a reader of the run's events. One line per finished phase, with its seconds, on stderr."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from provisioner.model.events import Emit, Event

_MARKS = {"ok": "✓", "nothing-to-do": "·", "failed": "✗", "interrupted": "✗"}
_ENDED_EARLY = ("failed", "interrupted")


def is_plain(stream: TextIO) -> bool:
    """Say whether to leave out spinner and cursor moves: no terminal, or someone asked for plain lines."""
    asked = os.environ.get("KUBEWRIGHT_PROGRESS") == "plain" or "CI" in os.environ
    return asked or not stream.isatty() or os.environ.get("TERM") == "dumb"


class Console:
    """Writes phases as they end; on a terminal the phase that runs stands in the last line with what it waits for."""

    def __init__(self, stream: TextIO = sys.stderr, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._plain = is_plain(stream)
        self._phase = ""
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        show = getattr(self, "_" + event.type.replace("-", "_"), None)
        if show is not None:
            with self._lock:
                show(event)

    def _run_start(self, event: Event) -> None:
        self._line(f"Run {event.message}")

    def _phase_start(self, event: Event) -> None:
        self._phase = event.phase
        self._status(f"  … {event.phase:<15}{event.message}")

    def _waiting(self, event: Event) -> None:
        text = f"  … {(event.phase or self._phase):<15}{event.message}"
        self._line(text) if self._plain else self._status(text)

    def _host_done(self, event: Event) -> None:
        if self._verbose or event.status == "failed":
            self._line(f"    {event.host:<6} {event.status} {event.message}".rstrip())

    def _phase_done(self, event: Event) -> None:
        mark = _MARKS.get(event.status, " ")
        message = "" if event.status in _ENDED_EARLY else event.message
        self._line(f"  {mark} {event.phase:<15}{event.seconds or 0:>6.1f}s  {message}".rstrip())

    def _availability(self, event: Event) -> None:
        self._line(f"  {_MARKS.get(event.status, ' ')} {'prober':<15}{event.seconds or 0:>6.1f}s  {event.message}")
        for line in (event.data or {}).get("details", ()):
            self._line(f"    {line}")

    def _diagnostic(self, event: Event) -> None:
        self._line(f"  ! {event.message}")

    def _stopping(self, event: Event) -> None:
        self._line(event.message)

    def _run_end(self, event: Event) -> None:
        if event.status in _ENDED_EARLY and event.data and event.data["not_started"]:
            self._line(f"  · not started: {', '.join(event.data['not_started'])}")

    def _line(self, text: str) -> None:
        clear = "" if self._plain else "\r\x1b[K"
        self._stream.write(f"{clear}{text}\n")
        self._stream.flush()

    def _status(self, text: str) -> None:
        if not self._plain:
            width = _width(self._stream)
            self._stream.write(f"\r\x1b[K{text[:width - 1]}")
            self._stream.flush()


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:
        return 80


def json_lines(stream: TextIO) -> Emit:
    """Return a reader that writes every event as one JSON line."""

    def write(event: Event) -> None:
        stream.write(json.dumps(event.to_json(), ensure_ascii=False) + "\n")
        stream.flush()

    return write


def to_file(path: Path) -> Emit:
    """Return a reader that appends every event to a file, created 0600."""

    def write(event: Event) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(json.dumps(event.to_json(), ensure_ascii=False) + "\n")

    return write


def to_all(readers: Sequence[Callable[[Event], None]]) -> Emit:
    """Return a reader that hands every event to all `readers`."""

    def write(event: Event) -> None:
        for reader in readers:
            reader(event)

    return write
