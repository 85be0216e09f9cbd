"""A command's streams: read side by side, fed meanwhile, bounded, and never waited for without an end.

paramiko waits for sshd's word without any deadline in most of its calls, and for as long as its own socket stands. So
whoever waits here does it under `limited`, which closes the login when its time is over: all that wait on it wake up.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import paramiko
from paramiko.transport import Transport

from provisioner.transport import faults

STALL_TIMEOUT = 60.0          # a stream that moves no byte for this long is dead
SILENCE = 15.0                # seconds without a byte from the host after which its sshd is asked whether it is there
ECHO = 20.0                   # seconds that it has to answer
CLOSING = 10.0                # seconds for the end of a channel
ANSWER = 16 << 20             # bytes: whatever a host says to us is shorter, the largest answer of ours by far
LARGE = 1 << 16               # bytes that are a stream, and no question
READ_SIZE = 1 << 18
PIECE = (1 << 15) - 64        # bytes: what paramiko puts into one packet; of more it copies all the rest anew
Sink = Callable[[bytes], object]
"""Takes a command's output as it comes."""


@dataclass(frozen=True)
class Completed:
    """What a command left: its exit status and both streams, whole."""

    rc: int
    stdout: bytes
    stderr: bytes


class SinkFault(Exception):
    """Whoever takes the output failed with an OSError of its own (a closed pipe), which is no fault of the host."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class TooLong(Exception):
    """The host said more than any answer has; it is not read on."""


@contextlib.contextmanager
def limited(seconds: float, transport: Transport) -> Iterator[None]:
    """Close the login when what is done here is not over in time: then every wait on it ends, and the next is new."""
    timer = threading.Timer(max(0.0, seconds), cut, (transport,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def cut(transport: Transport) -> None:
    """Close a login that nobody may wait for any more."""
    with contextlib.suppress(*faults.BROKEN):
        transport.close()


def ping(transport: Transport) -> None:
    """Ask sshd for a sign of life; a login without one is closed. A socket that stands says nothing of the far side."""
    with limited(ECHO, transport):
        transport.global_request("keepalive@openssh.com", wait=True)


class Sender(threading.Thread):
    """Feeds a command's stdin, so that its output can be read at the same time."""

    def __init__(self, channel: paramiko.Channel, chunks: Iterable[bytes]) -> None:
        super().__init__(name="ssh-stdin", daemon=True)
        self._channel = channel
        self._chunks = chunks
        self._fault: OSError | None = None
        self._streamed = 0.0        # when the last large chunk had gone
        self.stalled = False

    def run(self) -> None:
        try:
            for chunk in self._chunks:
                if not self._send(chunk):
                    return
        except OSError as e:    # the source of the chunks failed: a local file
            self._fault = e
            close_channel(self._channel)
            return
        with contextlib.suppress(*faults.BROKEN):
            self._channel.shutdown_write()

    def _send(self, chunk: bytes) -> bool:
        large = len(chunk) >= LARGE
        self._streamed = float("inf") if large else self._streamed
        try:
            for begins in range(0, len(chunk), PIECE):
                self._channel.sendall(chunk[begins:begins + PIECE])
        except TimeoutError:
            self.stalled = True
            close_channel(self._channel)
        except faults.BROKEN:
            return False    # the command ended before it read everything: its exit status tells why
        finally:
            self._streamed = time.monotonic() if large else self._streamed
        return not self.stalled

    @property
    def streams(self) -> bool:
        """Say whether much is being sent: then a question of ours would wait behind it, and stalls are noticed here."""
        return time.monotonic() - self._streamed < SILENCE

    def finish(self) -> None:
        """Wait for the thread (its channel is closed by now) and pass on a fault of the chunks' source."""
        if self.ident is not None:
            self.join(STALL_TIMEOUT)
        if self._fault is not None:
            raise self._fault


def close_channel(channel: paramiko.Channel) -> None:
    """Close a channel; where its connection has just broken there is nobody left to tell, and paramiko raises."""
    with contextlib.suppress(*faults.BROKEN):
        channel.close()


def end(channel: paramiko.Channel, sender: Sender | None) -> None:
    """Close a command's channel and wait for its sender, not for long: a login that takes no word is closed."""
    with limited(CLOSING, channel.get_transport()):
        close_channel(channel)
        if sender is not None:
            sender.finish()


def drain(channel: paramiko.Channel, sender: Sender, deadline: float, sink: Sink | None, silent: Callable[[], None],
          ) -> Completed:
    """Read both streams to their end, then the exit status; TimeoutError when the deadline passes first.

    `silent` is called when nothing has come for a while and nothing much is sent. TooLong beyond `ANSWER` bytes.
    """
    out, err = bytearray(), bytearray()
    take = out.extend if sink is None else _guarded(sink)
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    heard = time.monotonic()
    while True:
        ready = channel.recv_ready(), channel.recv_stderr_ready()
        if ready[0]:
            take(channel.recv(READ_SIZE))
        if ready[1]:
            err += channel.recv_stderr(READ_SIZE)
        now = time.monotonic()
        heard = now if any(ready) else heard
        if len(out) > ANSWER or len(err) > ANSWER:
            raise TooLong
        if now > deadline:
            raise TimeoutError
        ended = channel.eof_received or channel.closed
        if ended and not channel.recv_ready() and not channel.recv_stderr_ready():
            break
        if now - heard > SILENCE and not sender.streams:
            silent()
            heard = time.monotonic()
        poller.poll(min(1000.0, max(1.0, (deadline - now) * 1000)))
    return Completed(_status(channel, deadline), bytes(out), bytes(err))


def _status(channel: paramiko.Channel, deadline: float) -> int:
    if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
        raise TimeoutError
    rc = channel.recv_exit_status()
    if rc < 0:
        raise paramiko.SSHException("no exit status")
    return rc


def _guarded(sink: Sink) -> Sink:
    def take(data: bytes) -> None:
        try:
            sink(data)
        except OSError as e:
            raise SinkFault(e) from e
    return take


class Lines:
    """Cuts what comes into lines; TooLong where one has no end."""

    def __init__(self) -> None:
        self.rest = b""

    def cut(self, data: bytes) -> list[bytes]:
        """Return the lines that are whole now."""
        *whole, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > ANSWER:
            raise TooLong
        return whole
