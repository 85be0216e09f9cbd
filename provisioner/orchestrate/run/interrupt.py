"""Ctrl-C: the first lets what was begun come to a point where nothing is half done, the second ends at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from provisioner.errors import Interrupted
from provisioner.orchestrate.session.session import Session

# A terminal that is gone (SIGHUP) asks like a person. Nobody is left to ask twice: the second SIGHUP that follows at
# once, from the kernel after the one from the shell, is the same wish. So such a run ends at a safe point.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], Any]


class Wish:
    """Whether somebody asked to stop. Handlers only set it and write to a pipe: they may run inside any lock."""

    def __init__(self) -> None:
        self.asked = False
        self._read, self._write = os.pipe()

    def after(self, previous: Handler) -> Handler:
        """Return a handler that swallows the KeyboardInterrupt of `previous` the first time, of SIGHUP every time."""

        def hear(signum: int, frame: FrameType | None) -> None:
            first, self.asked = not self.asked, True
            try:
                previous(signum, frame)
            except KeyboardInterrupt:
                if first:
                    os.write(self._write, b".")
                elif signum != signal.SIGHUP:
                    raise

        return hear

    def told(self, tell: Callable[[], None]) -> None:
        """Call `tell` at the first wish, in this thread; return when there will be none any more."""
        with os.fdopen(self._read, "rb", buffering=0) as wishes:
            if wishes.read(1):
                tell()

    def over(self) -> None:
        """Say that nobody may ask any more."""
        os.close(self._write)

    def check(self) -> None:
        """Raise Interrupted when somebody has asked: called where nothing is half done."""
        if self.asked:
            raise Interrupted("Stopped.")


@contextmanager
def patient(session: Session) -> Iterator[None]:
    """Let the first signal stop the run at its next safe point, and say which; the second is KeyboardInterrupt.

    A run that only looks is not waited for. Signals that were ignored stay so. Only the main thread may set handlers:
    elsewhere nothing is changed.
    """
    only_looks = session.plan is not None and not session.plan.has_work     # it may be stopped anywhere
    if only_looks or threading.current_thread() is not threading.main_thread():
        yield
        return
    wish = Wish()
    before = {s: h for s in SIGNALS if callable(h := signal.getsignal(s))}
    teller = threading.Thread(target=wish.told, args=(lambda: _tell(session),), name="interrupt", daemon=True)
    teller.start()
    session.run.safe_points.append(wish.check)
    for number, handler in before.items():
        signal.signal(number, wish.after(handler))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        session.run.safe_points.remove(wish.check)
        wish.over()
        teller.join()


def _tell(session: Session) -> None:
    session.tell("stopping", message=f"Stopping after {session.run.doing} (safe point). Press again to stop at once.")
