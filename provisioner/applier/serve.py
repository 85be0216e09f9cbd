"""`serve`: answer many requests over one channel, each in a process of its own, until nobody says a word any more.

A login to sudo and a start of Python cost a host several times as much as most questions do. What a request may do,
and how it ends, is as if it had come alone: its process has its own stdin, stdout and stderr, and whoever waits in it
sees there that nobody reads any more.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import sys
import time
import traceback
from typing import Any, BinaryIO, Mapping, Optional

from .host import Host
from .main import COMMANDS, main

PATIENCE = 45.0         # seconds without a byte on stdin, or without a reader: longer than a cut that TCP survives
BROKE = 70              # exit status of a request whose process ended by a bug or a signal, or that got none
DROP = b"drop"
SIZE = 1 << 16
STDIN, STDOUT, STDERR = 0, 1, 2


class Asked:
    """One request at work: its process, and what it says."""

    def __init__(self, number: int, pid: int, out: int, err: int) -> None:
        self.number, self.pid = number, pid
        self.said: dict[int, bytearray] = {out: bytearray(), err: bytearray()}
        self.open = {out, err}
        self._out, self._err = out, err

    def read(self, descriptor: int) -> bool:
        """Take what has come; say whether that was all."""
        try:
            data = os.read(descriptor, SIZE)
        except BlockingIOError:     # nothing is there: the number was another's when we looked
            return False
        self.said[descriptor] += data
        if not data:
            self.open.discard(descriptor)
            os.close(descriptor)
        return not self.open

    def close(self) -> None:
        """Read no more: a process that waits for something ends by that."""
        for descriptor in self.open:
            os.close(descriptor)
        self.open.clear()

    def answer(self) -> tuple[dict[str, Any], bytes]:
        """Return how it ended, once it has, and the last line that it printed."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        text = self.said[self._err].decode(errors="replace")
        line = bytes(self.said[self._out]).strip().rpartition(b"\n")[2]
        return {"id": self.number, "rc": status if status >= 0 else BROKE, "err": text}, line


class Service:
    """The requests of one channel; nothing that it does waits for one of them, or for who reads."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._rest = b""
        self._asked: dict[int, Asked] = {}
        self._dropped: list[int] = []       # processes whose end nobody has seen yet
        self._told = bytearray()            # what is still to be written

    def run(self) -> None:
        """Serve until stdin ends, or nobody has said or read a word for too long."""
        for descriptor in (STDIN, STDOUT):
            os.set_blocking(descriptor, False)
        self._tell({"ready": True})
        heard = time.monotonic()
        while True:
            ready = self._ready(PATIENCE - (time.monotonic() - heard))
            if not ready:
                return
            for descriptor in sorted(ready, reverse=True):      # stdin last: what it brings opens new ones
                if descriptor == STDOUT:
                    del self._told[:os.write(STDOUT, self._told[:SIZE])]
                elif descriptor == STDIN:
                    data = os.read(STDIN, SIZE)
                    if not data:
                        return
                    self._hear(data)
                else:
                    self._follow(descriptor)
                    continue
                heard = time.monotonic()
            self._dropped = [pid for pid in self._dropped if not os.waitpid(pid, os.WNOHANG)[0]]
            if time.monotonic() - heard > PATIENCE and STDIN not in self._ready(0):
                return

    def _ready(self, seconds: float) -> list[int]:
        poll = select.poll()
        for descriptor in (STDIN, *(d for asked in self._asked.values() for d in asked.open)):
            poll.register(descriptor, select.POLLIN)
        if self._told:
            poll.register(STDOUT, select.POLLOUT)
        return [descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)]

    def _tell(self, head: Mapping[str, Any], line: Optional[bytes] = None) -> None:
        self._told += json.dumps(head).encode() + b"\n" + (b"" if line is None else line + b"\n")

    def _hear(self, data: bytes) -> None:
        """Take orders: a line `ID COMMAND`, and the request in the next. An empty line says that we are waited for."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        head: Optional[bytes] = None
        for line in whole:
            if head is None:
                head = line or None
                continue
            number, _, command = head.partition(b" ")
            head = None
            if command == DROP:
                self._drop(int(number))
            else:
                self._begin(int(number), command.decode(), line)
        if head is not None:
            self._rest = head + b"\n" + self._rest

    def _begin(self, number: int, command: str, request: bytes) -> None:
        """Answer in a process of its own, which finds the command's modules loaded."""
        with contextlib.suppress(Exception):        # it tells then what is wrong
            COMMANDS[command]()
        pipes: list[tuple[int, int]] = []
        try:
            for _ in (STDOUT, STDERR):
                pipes.append(os.pipe())
            pid = os.fork()
        except OSError as fault:        # one more than this host can have
            for descriptor in (d for pipe in pipes for d in pipe):
                os.close(descriptor)
            self._tell({"id": number, "rc": BROKE, "err": str(fault)}, b"")
            return
        if not pid:
            self._become(pipes, command, request)
        for near, far in pipes:
            os.close(far)
            os.set_blocking(near, False)
        self._asked[number] = Asked(number, pid, pipes[0][0], pipes[1][0])
        self._tell({"id": number, "begun": True})

    def _become(self, pipes: list[tuple[int, int]], command: str, request: bytes) -> None:
        """Be a process of the one request from here on."""
        status = BROKE
        try:
            for other in self._asked.values():
                other.close()       # only who answers us may hold these open
            nothing = os.open(os.devnull, os.O_RDONLY)
            for descriptor, place in ((nothing, STDIN), (pipes[0][1], STDOUT), (pipes[1][1], STDERR)):
                os.dup2(descriptor, place)
            for descriptor in (nothing, *(d for pipe in pipes for d in pipe)):
                os.close(descriptor)
            sys.stdin = io.TextIOWrapper(io.BytesIO(request))
            status = main(["--root", self._host.root or "/", command])
        finally:        # whatever happens: this process must not go on as the one that serves
            _end(status)

    def _follow(self, descriptor: int) -> None:
        asked = next((a for a in self._asked.values() if descriptor in a.open), None)
        if asked is None or not asked.read(descriptor):
            return
        del self._asked[asked.number]
        self._tell(*asked.answer())

    def _drop(self, number: int) -> None:
        asked = self._asked.pop(number, None)
        if asked is not None:
            asked.close()
            self._dropped.append(asked.pid)


def _end(status: int) -> None:
    """End this process at once, with all that it has to say: nothing of the one that it came from is run."""
    try:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def serve(host: Host, stream: BinaryIO) -> dict[str, Any]:
    """Say that we listen, then answer what is asked; `docs/reference/applier-protocol.md` has both sides.

    Orders come once we have said so: what `stream` has read ahead is words that mean no more than that one is there.
    """
    stream.readline()
    Service(host).run()
    return {}
