"""What a run shows to others while it runs: arguments and environment of every process, and how files come to be."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PERIOD = 1 / 40
YOUNG = 40      # looks: a second
# `openat(AT_FDCWD</cwd>, "/path", O_WRONLY|O_CREAT|O_EXCL, 0600) = 5</path>`, `mkdir("/path", 0700) = 0`
CREATED = re.compile(r'(open(?:at)?|creat|mkdir(?:at)?)\((?:[^,"]*, )?"([^"]*)"(?:, ([A-Z_|0-9x]+))?, (0\d*)\) += \d')
CHANGED = re.compile(r'(?:f?chmod(?:at2?)?)\((?:\w+<([^>]*)>|(?:AT_FDCWD<[^>]*>, )?"([^"]*)"), (0\d*)')
TRACE = ("strace", "-f", "-qq", "-y", "-v", "-s", "100000", "--seccomp-bpf",
         "-e", "trace=open,openat,creat,mkdir,mkdirat,chmod,fchmod,fchmodat,?fchmodat2,execve", "-o")


class Processes:
    """Arguments and environments of every process of this machine and, since its nodes are containers, of all hosts."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.looks = 0
        self.seconds = 0.0
        self._known: dict[str, tuple[bytes, int]] = {}

    @property
    def rate(self) -> float:
        """Return the looks in a second."""
        return self.looks / self.seconds

    @contextlib.contextmanager
    def watched(self) -> Iterator[Processes]:
        """Look again and again, in a thread, until the block ends."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,), daemon=True)
        began = time.monotonic()
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()
            self.seconds += time.monotonic() - began

    def _watch(self, over: threading.Event) -> None:
        # This thread alone goes before the others: a look that comes late misses what lives shortly.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -10)
        while not over.is_set():
            began = time.monotonic()
            self.look()
            over.wait(max(0.0, began + PERIOD - time.monotonic()))

    def look(self) -> None:
        """Read the arguments of all processes, and the environment of those that are new or another program by now.

        A process that has not changed for many looks is read at every tenth only.
        """
        self.looks += 1
        before, self._known = self._known, {}
        for pid in os.listdir("/proc"):  # noqa: PTH208  # forty times a second
            if pid.isdigit():
                known, age = before.get(pid, (b"", 0))
                if age < YOUNG or (self.looks + int(pid)) % 10 == 0:
                    known, age = self._look_at(pid, known, age)
                self._known[pid] = known, age + 1

    def _look_at(self, pid: str, known: bytes, age: int) -> tuple[bytes, int]:
        with contextlib.suppress(OSError):
            arguments = _read(f"/proc/{pid}/cmdline")
            if arguments and known != arguments:
                self.seen |= {arguments, _read(f"/proc/{pid}/environ")}
                return arguments, 0
        return known, age


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 1 << 20)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Created:
    """A file or directory as the kernel was asked to create it: the mode of its first moment."""

    path: str
    directory: bool
    mode: int
    exclusive: bool


class Trace:
    """What strace wrote of a command and all that it started on this machine."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def of(self, argv: Sequence[str]) -> list[str]:
        """Return the call that runs `argv` traced."""
        return [*TRACE, str(self.file), *argv]

    def created(self, below: Path) -> list[Created]:
        """Return everything created below a directory; the umask can only have taken more away."""
        found = []
        for line in self._lines(below):
            match = CREATED.search(line)
            if match and match[2].startswith(f"{below}/"):
                flags = match[3] or ""
                directory = match[1].startswith("mkdir")
                if directory or "O_CREAT" in flags:
                    found.append(Created(match[2], directory, int(match[4], 8), directory or "O_EXCL" in flags))
        return found

    def opened_up(self, below: Path) -> list[str]:
        """Return what got a mode afterwards that lets others in."""
        found = []
        for line in self._lines(below):
            match = CHANGED.search(line)
            if match and (match[1] or match[2]).startswith(f"{below}/") and int(match[3], 8) & 0o077:
                found.append(line.strip())
        return found

    def _lines(self, below: Path) -> Iterator[str]:
        with self.file.open(encoding="utf-8", errors="replace") as lines:
            yield from (line for line in lines if str(below) in line)
