"""One applier a host that answers all questions of a connection: one login to sudo, one start of Python.

Where a host cannot do that, each question goes its own way as before, and tells what is wrong there.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from provisioner.applier.package import answer_of, frame
from provisioner.errors import KubewrightError
from provisioner.transport.login import CHANNEL_TIMEOUT
from provisioner.transport.streams import Completed, Lines

ALIVE = 1.0             # seconds between two signs of life of ours; without one the host ends it (applier/serve.py)
START = 0.2             # and until it serves, which is when a host that cannot hangs up
LIFE = 30 * 86400.0     # seconds: as long as the connection
BROKE = 70              # a request's process failed by a bug, or by a Python that was replaced: ask on its own
DROPPED = b"%d drop\n\n"


class Silent(Exception):
    """Nobody took the question in time: the login stands and leads nowhere."""


class Ended(Exception):
    """The connection, or what served, ended before it had answered."""


class Late(Exception):
    """The answer did not come in time."""


class Stream(Protocol):
    """How a command is run while bytes flow both ways: `Connection.stream`."""

    def __call__(self, argv: Sequence[str], chunks: Iterable[bytes], *, timeout: float,
                 sink: Callable[[bytes], object]) -> Completed:
        """Run it to its end."""


class _Asked:
    def __init__(self) -> None:
        self.begun, self.over = False, False
        self.done: Completed | None = None


class Serving:
    """What serves on one host, from its start until its channel ends."""

    def __init__(self, stream: Stream, argv: Sequence[str]) -> None:
        self._stream, self._argv = stream, argv
        self._orders: SimpleQueue[bytes] = SimpleQueue()
        self._cut = Lines()
        self._changed = threading.Condition()
        self._asked: dict[int, _Asked] = {}
        self._numbers = itertools.count(1)
        self._head: Mapping[str, Any] | None = None     # of the answer whose line comes next
        self.ready, self.over = False, False
        threading.Thread(target=self._run, name="serving", daemon=True).start()

    def ask(self, command: str, request: Mapping[str, Any], timeout: float) -> Completed | None:
        """Return what a command answered, None where nothing can serve here and nothing was asked.

        Raises Silent, Ended or Late.
        """
        end = time.monotonic() + timeout
        if not self._until(lambda: self.ready or self.over, end):
            raise Late
        number, asked = next(self._numbers), _Asked()
        with self._changed:
            if self.over:
                return None
            self._asked[number] = asked
        self._orders.put(f"{number} {command}\n".encode() + json.dumps(request).encode() + b"\n")
        try:
            taken = min(end, time.monotonic() + CHANNEL_TIMEOUT)
            if not self._until(lambda: asked.begun or asked.over, taken):
                raise Late if taken == end else Silent
            if not self._until(lambda: asked.over, end):
                self._orders.put(DROPPED % number)
                raise Late
        finally:
            with self._changed:
                del self._asked[number]
        if asked.done is None:
            raise Ended
        return None if asked.done.rc == BROKE else asked.done

    def _until(self, so: Callable[[], bool], end: float) -> bool:
        with self._changed:
            return self._changed.wait_for(so, max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        try:
            self._stream(self._argv, self._chunks(), timeout=LIFE, sink=self._hear)
        except KubewrightError:
            pass            # whoever asks next, on a way of its own, is told
        finally:
            with self._changed:
                self.over = True
                for asked in self._asked.values():
                    asked.over = True
                self._changed.notify_all()

    def _chunks(self) -> Iterator[bytes]:
        yield frame({})
        while not self.over:
            try:
                yield self._orders.get(timeout=ALIVE if self.ready else START)
            except Empty:
                yield b"\n"         # which fails where the channel has ended: nothing else tells the one that sends

    def _hear(self, data: bytes) -> None:
        for line in self._cut.cut(data):
            with self._changed:
                self._take(line)
                self._changed.notify_all()

    def _take(self, line: bytes) -> None:
        """Take a line: of an answer the head first, then what the command printed last."""
        if self._head is not None:
            head, self._head = self._head, None
            asked = self._asked.get(int(head["id"]))
            if asked is not None:
                asked.done, asked.over = Completed(int(head["rc"]), line, str(head["err"]).encode()), True
            return
        said = answer_of(line) or {}
        if "ready" in said:
            self.ready = True
        elif not self.ready:
            return                  # a login script's words
        elif "rc" in said:
            self._head = said
        elif (asked := self._asked.get(int(said.get("id", 0)))) is not None:
            asked.begun = True
