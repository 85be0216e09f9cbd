"""The console: a reader of the run's events. One line per finished phase, with its seconds, on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from provisioner.model.events import Emit, Event
from provisioner.report.progress import Progress, names

_MARKS = {"ok": "✓", "nothing-to-do": "·", "failed": "✗", "interrupted": "✗"}
_COLOURS = {"✓": "\x1b[32m", "✗": "\x1b[31m", "!": "\x1b[33m", "·": "\x1b[2m"}
_ENDED_EARLY = ("failed", "interrupted")
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
QUIET = 10.0        # seconds after which a phase that runs says so in a line of its own, where nothing spins
SAME = 60.0         # seconds until it says the same again
_TURN = 0.1         # seconds between two pictures of the spinner
_LOOK = 1.0         # seconds between two looks at whether to say something, where nothing spins


def is_plain(stream: TextIO) -> bool:
    """Say whether to leave out spinner, colour and cursor moves: no terminal, or someone asked for plain lines."""
    asked = (os.environ.get("KUBEWRIGHT_PROGRESS") == "plain" or "CI" in os.environ
             or os.environ.get("NO_COLOR", "") != "")
    return asked or not stream.isatty() or os.environ.get("TERM") == "dumb"


class Console:
    """Writes phases as they end; below them, on a terminal, what goes on now and what is still to come.

    Elsewhere, after `QUIET` seconds of silence each phase that runs says in a line what it waits for, the same thing
    again after `SAME`. `clock` counts seconds. From the start of a run to its end a thread keeps this alive; with
    `alive` off `tick` must be called.
    """

    def __init__(self, stream: TextIO, *, verbose: bool = False, clock: Callable[[], float] = time.monotonic,
                 alive: bool = True) -> None:
        self._stream, self._verbose, self._clock, self._alive = stream, verbose, clock, alive
        self._plain = is_plain(stream)
        self._progress = Progress()
        self._drawn = 0             # lines on the terminal that are to be drawn over
        self._turn = 0
        self._said = clock()        # when the last line was written
        self._words: list[str] = []     # the last that was said of the phases that run, with their names
        self._width = 6             # of the longest host's name
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        show = getattr(self, "_" + event.type.replace("-", "_"), None)
        with self._lock:
            self._progress.take(event, self._clock())
            if show is not None:
                show(event)
            self._draw()

    def tick(self) -> None:
        """Show that the run is alive: turn the spinner, or say what is waited for when that was long ago."""
        with self._lock, contextlib.suppress(OSError, ValueError):     # the terminal may be gone
            self._turn += 1
            self._draw()

    def _run_start(self, event: Event) -> None:
        self._line(f"Run {event.message}")
        self._width = max([self._width, *(len(h) for h in (event.data or {}).get("hosts", ()))])
        self._ended.clear()
        if self._alive:
            threading.Thread(target=self._keep_alive, name="console", daemon=True).start()

    def _keep_alive(self) -> None:
        while not self._ended.wait(_LOOK if self._plain else _TURN):
            self.tick()

    def _waiting(self, event: Event) -> None:
        if not self._progress.running:                      # of no run: what builds artifacts, say
            self._line(f"  … {event.phase:<15}{event.message}")

    def _host_done(self, event: Event) -> None:
        if self._verbose or event.status == "failed":
            seconds = "" if event.seconds is None else f"{event.seconds:.1f}s"
            written = (event.data or {}).get("written")
            words = (event.status, seconds, "" if written is None else f"{written} written", event.message)
            self._host_line(event, "  ".join(w for w in words if w))

    def _gate(self, event: Event) -> None:
        if self._verbose:
            proved = names((event.data or {}).get("proved", ()))
            what = f"gate {(event.data or {}).get('when', 'after')} {event.phase}: {proved}"
            self._host_line(event, f"{event.status}  {event.seconds or 0:.1f}s  {event.message or what}")

    def _phase_done(self, event: Event) -> None:
        message = "" if event.status in _ENDED_EARLY else event.message
        self._line(f"{event.phase:<15}{event.seconds or 0:>6.1f}s  {message}", _MARKS.get(event.status, " "))

    def _availability(self, event: Event) -> None:
        self._line(f"{'prober':<15}{event.seconds or 0:>6.1f}s  {event.message}", _MARKS.get(event.status, " "))
        for line in (event.data or {}).get("details", ()):
            self._line(f"    {line}")

    def _diagnostic(self, event: Event) -> None:
        self._line(event.message, "!")

    _set_aside = _diagnostic

    def _stopping(self, event: Event) -> None:
        self._line(event.message)

    def _run_end(self, event: Event) -> None:
        self._ended.set()
        later = (event.data or {}).get("not_started")
        if event.status in _ENDED_EARLY and later:
            self._line(f"not started: {', '.join(later)}", "·")

    def _host_line(self, event: Event, text: str) -> None:
        self._line(f"    {event.host:<{self._width}} {text}")

    def _line(self, text: str, mark: str = "") -> None:
        """Write a line that stays."""
        self._clear()
        text = _in_one_line(text)
        shown = f"  {self._painted(mark)} {text}" if mark else text
        self._stream.write(f"{shown.rstrip()}\n")
        self._stream.flush()
        self._said = self._clock()

    def _draw(self) -> None:
        """Show what goes on: on a terminal in place of what was shown before, elsewhere in a line now and then."""
        now = self._clock()
        if not self._progress.running:
            self._clear()
        elif not self._plain:
            self._clear()
            pending = "  " + " ".join(f"· {p}" for p in self._progress.pending)
            mark = _SPINNER[self._turn % len(_SPINNER)]
            lines = [*(f"  {mark} {phase.status(now)}" for phase in self._progress.running), pending.rstrip()]
            width = _width(self._stream)
            shown = [_in_one_line(line)[:width - 1] for line in lines if line]
            self._stream.write("\n".join(shown))
            self._stream.flush()
            self._drawn = len(shown)
        elif now - self._said >= QUIET:
            words = [f"{phase.name} {phase.goes_on}" for phase in self._progress.running]
            if words != self._words or now - self._said >= SAME:
                self._words = words
                for phase in self._progress.running:
                    self._line(f"  … {phase.status(now)}")

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write("\r" + "\x1b[A" * (self._drawn - 1) + "\x1b[J")
            self._drawn = 0

    def _painted(self, mark: str) -> str:
        return mark if self._plain or mark not in _COLOURS else f"{_COLOURS[mark]}{mark}\x1b[0m"


def _in_one_line(text: str) -> str:
    """Return what a host said so that it takes one line and moves nothing: drawing counts lines."""
    return "".join(c if c.isprintable() else " " for c in text)


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


def while_read(reader: Emit, gone: Callable[[OSError], None]) -> Emit:
    """Return a reader that, when it can write no more, tells `gone` why and hears nothing from then on.

    Whoever tells an event, often in the midst of a change, never meets the fault.
    """
    readers = [reader]

    def write(event: Event) -> None:
        try:
            for one in readers:
                one(event)
        except OSError as fault:
            readers.clear()
            gone(fault)

    return write


def to_file(path: Path) -> Emit:
    """Return a reader that appends every event to a file, created 0600."""

    def write(event: Event) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(json.dumps(event.to_json(), ensure_ascii=False) + "\n")

    return write


def to_all(readers: Sequence[Callable[[Event], None]]) -> Emit:
    """Return a reader that hands every event to all `readers`, one event after the other whoever tells it."""
    lock = threading.Lock()

    def write(event: Event) -> None:
        with lock:
            for reader in readers:
                reader(event)

    return write
