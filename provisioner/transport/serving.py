"""One applier a host that answers all questions of a login: one `sudo`, one start of Python.

Where a host cannot do that, each question goes its own way as before, and tells what is wrong there.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import paramiko

from provisioner.applier.package import answer_of
from provisioner.transport import faults
from provisioner.transport.login import CHANNEL_TIMEOUT
from provisioner.transport.streams import PIECE, READ_SIZE, SILENCE, Completed, Lines, TooLong, cut, limited

ALIVE = 1.0             # seconds between two signs of life of ours; without one the host ends it (applier/serve.py)
BROKE = 70              # a question's process ended by a bug or a signal, or there could be none


class Silent(Exception):
    """Nobody took the question in time: the login stood and led nowhere, and is closed."""


class Ended(Exception):
    """The connection, or what served, ended before it had answered."""


class Late(Exception):
    """The answer did not come in time."""


class _Asked:
    def __init__(self) -> None:
        self.begun, self.over, self.too_long = False, False, False
        self.done: Completed | None = None


class Serving:
    """What serves in one channel, until that ends; `first` is what it is given to start with.

    `silent` is called when nothing has come for a while, `closed` once, when it has ended. `streams` says whether much
    is being sent in the same login: then a question of ours waits behind it, and nothing is to be concluded from that.
    """

    patience = CHANNEL_TIMEOUT      # seconds without any byte in which a question has to be taken

    def __init__(self, channel: paramiko.Channel, first: Iterable[bytes], silent: Callable[[], None],
                 closed: Callable[[], None], streams: Callable[[], bool]) -> None:
        self._channel, self._silent, self._closed, self._streams = channel, silent, closed, streams
        self._cut = Lines()
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._asked: dict[int, _Asked] = {}
        self._numbers = itertools.count(1)
        self._head: Mapping[str, Any] | None = None     # of the answer whose line comes next
        self._heard = time.monotonic()
        self._over = False
        self.ready = False
        threading.Thread(target=self._read, args=(first,), name="serving", daemon=True).start()

    @property
    def over(self) -> bool:
        """Say whether it has ended, also where nobody has noticed yet."""
        return self._over or self._channel.closed or not self._channel.get_transport().is_active()

    def ask(self, command: str, request: Mapping[str, Any], timeout: float) -> Completed | None:
        """Return what a command answered, None where nothing serves here and nothing was asked.

        Raises Silent, Ended, Late, or TooLong for an answer that is none.
        """
        end = time.monotonic() + timeout
        if not self._until(lambda: self.ready or self._over, end):
            raise Late
        number, asked = next(self._numbers), _Asked()
        with self._changed:
            if self._over:
                return None
            self._asked[number] = asked
        try:
            self._send(f"{number} {command}\n".encode() + json.dumps(request).encode() + b"\n", end)
            self._taken(asked, end)
            if not self._until(lambda: asked.over, end):
                raise Late
        except Late:
            with contextlib.suppress(Late):
                self._send(b"%d drop\n\n" % number, time.monotonic() + ALIVE)
            raise
        finally:
            with self._changed:
                del self._asked[number]
        if asked.too_long:
            raise TooLong
        if asked.done is None:
            raise Ended
        return asked.done

    def _taken(self, asked: _Asked, end: float) -> None:
        """Wait until the host says that it has begun; a login on which nothing at all comes meanwhile is closed."""
        sign = time.monotonic()
        while not self._until(lambda: asked.begun or asked.over, min(end, sign + self.patience)):
            now = time.monotonic()
            sign = now if self._streams() else max(sign, self._heard)
            if now >= sign + self.patience:
                cut(self._channel.get_transport())
                raise Late if now >= end else Silent
            if now >= end:
                raise Late

    def _until(self, so: Callable[[], bool], end: float) -> bool:
        with self._changed:
            return self._changed.wait_for(so, max(0.0, end - time.monotonic()))

    def _send(self, data: bytes, end: float) -> None:
        """Send an order; where that cannot be, the one that reads finds the end of the channel.

        Late where others are sending until `end`. One that is not sent whole by then closes the login: half an order is
        none, and the next would be its other half.
        """
        if not self._sending.acquire(timeout=max(0.0, end - time.monotonic())):
            raise Late
        try:
            small = len(data) <= PIECE and self._channel.send_ready()
            with contextlib.nullcontext() if small else limited(end - time.monotonic(), self._channel.get_transport()):
                for begins in range(0, len(data), PIECE):
                    self._channel.sendall(data[begins:begins + PIECE])
        except TimeoutError:
            cut(self._channel.get_transport())
        except faults.BROKEN:
            pass
        finally:
            self._sending.release()

    def _say_a_word(self) -> None:
        """Say that we are there, unless an order that is being sent says so."""
        if self._sending.acquire(blocking=False):
            try:
                if self._channel.send_ready():
                    self._channel.sendall(b"\n")
            finally:
                self._sending.release()

    def _read(self, first: Iterable[bytes]) -> None:
        try:
            for chunk in first:
                self._channel.sendall(chunk)
            self._follow()
        except TooLong:
            said = self._asked.get(int((self._head or {}).get("id", 0)))
            if said is not None:
                said.too_long = True
        except (*faults.BROKEN, KeyError, TypeError, ValueError):
            pass            # the last three: something else spoke in our channel
        finally:
            with self._changed:
                self._over = True
                for asked in self._asked.values():
                    asked.over = True
                self._changed.notify_all()
            self._closed()

    def _follow(self) -> None:
        """Take what comes to its end; say a word when nothing was to be said for a while."""
        poller, said = select.poll(), time.monotonic()
        poller.register(self._channel.fileno(), select.POLLIN)
        while True:
            poller.poll(ALIVE * 1000)
            now, ended = time.monotonic(), self._channel.eof_received or self._channel.closed
            if self._channel.recv_ready():
                self._heard = now
                self._hear(self._channel.recv(READ_SIZE))
            elif self._channel.recv_stderr_ready():
                self._channel.recv_stderr(READ_SIZE)
            elif ended:
                return
            if now - said >= ALIVE:
                said = now
                self._say_a_word()
            if now - self._heard > SILENCE:
                if not self._streams():
                    self._silent()
                self._heard = now

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
