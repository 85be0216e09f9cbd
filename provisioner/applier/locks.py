"""One flock a host: a step holds it alone, readers together; the kernel lets go of it when a process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Iterator, Optional

from . import files
from .host import STATE_DIR, Fault, Host, caller_gone

POLL = 0.05


class Busy(Exception):
    """Another step kept the lock for as long as we would wait; the argument is its id."""


@contextlib.contextmanager
def exclusive(host: Host, step: str, wait: float) -> Iterator[None]:
    """Hold the host's lock for a step, which waits for a running one and for readers."""
    files.private_directory(host.at(STATE_DIR))
    fd = os.open(host.own("lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _take(fd, fcntl.LOCK_EX, wait)
        _name(fd, step)
        yield
        _name(fd, "")
    finally:
        os.close(fd)


@contextlib.contextmanager
def shared(host: Host, wait: float) -> Iterator[None]:
    """Hold the lock together with other readers; where no step ever ran there is no file and nothing to wait for."""
    fd: Optional[int] = None
    try:
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(host.own("lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            _take(fd, fcntl.LOCK_SH, wait, reader=True)
        yield
    finally:
        if fd is not None:
            os.close(fd)


def running(host: Host) -> str:
    """Return the id of the step that holds the lock now, "" where none does."""
    try:
        with shared(host, 0):
            return ""
    except Busy as busy:
        return str(busy)


def _take(fd: int, how: int, wait: float, reader: bool = False) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Busy(os.pread(fd, 200, 0).decode(errors="replace").strip() or "unknown") from None
        if reader and caller_gone():
            raise Fault("the caller went away while we waited for a step")
        time.sleep(POLL)


def _name(fd: int, step: str) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, step.encode(), 0)
