"""One host: a Fabric connection with strict host keys, and commands whose streams never block each other."""

from __future__ import annotations

import contextlib
import select
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

import fabric
import paramiko
from paramiko.transport import Transport

from provisioner.transport import faults
from provisioner.transport.faults import HostFault
from provisioner.transport.login import CHANNEL_TIMEOUT, Gateway, login
from provisioner.transport.target import Target

STALL_TIMEOUT = 60.0          # a stream that moves no byte for this long is dead
PATIENCE = 75.0               # seconds to log in again where we were logged in: a minute's cut, and a bit
CHANNELS = 8                  # sshd's default MaxSessions is 10
READ_SIZE = 1 << 18
ENGLISH = ("env", "LC_ALL=C")  # whatever language the host speaks: what sudo says must be known to us
RETRY = 0.5                   # seconds between two tries to log in again
Sink = Callable[[bytes], object]
"""Takes a command's output as it comes."""


@dataclass(frozen=True)
class Completed:
    """What a command left: its exit status and both streams, whole."""

    rc: int
    stdout: bytes
    stderr: bytes


class _SinkFault(Exception):
    """Whoever takes the output failed with an OSError of its own (a closed pipe), which is no fault of the host."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Connection:
    """A login on one host; open it once, then use it from many threads (at most eight channels at a time)."""

    def __init__(self, target: Target, gateway: Gateway | None = None) -> None:
        self.target = target
        self._channels = threading.BoundedSemaphore(CHANNELS)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._stood = False
        self._fabric: fabric.Connection | None = None
        self._own_gateway = Gateway(target) if target.jump is not None and gateway is None else None
        self._gateway = gateway or self._own_gateway

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def is_open(self) -> bool:
        """Say whether the transport still stands; a frozen peer is found only by a deadline."""
        return self._fabric is not None and bool(self._fabric.is_connected)

    def open(self, *, patient: bool = False) -> None:
        """Log in, through the jump host if there is one; every hop's key must be pinned.

        A login that stood and was lost is tried again for a while by the `patient`: the host was there a moment ago.
        Nobody waits for them: the lock is free between two tries.
        """
        limit = time.monotonic() + (PATIENCE if patient and self._stood else 0.0)
        while True:
            try:
                self._log_in()
                return
            except HostFault as fault:
                if fault.code not in faults.PASSING or time.monotonic() > limit or self._closed.wait(RETRY):
                    self._stood = self._stood and not patient
                    raise

    def _log_in(self) -> None:
        with self._lock:
            if self.is_open:
                return
            self._close()
            through = self._gateway.open(self.name) if self._gateway is not None else None
            self._fabric = login(self.target, self.target.hop, through, self.name)
            self._stood = True

    @property
    def transport(self) -> Transport:
        """Return the open paramiko transport, logging in first where that is needed."""
        self.open()
        assert self._fabric is not None and self._fabric.transport is not None  # noqa: S101 - open() has set both
        transport: Transport = self._fabric.transport
        return transport

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 60.0, sudo: bool = True) -> Completed:
        """Run one command to its end; the exit status is the caller's to judge, sudo's own refusals are faults."""
        return self.stream(argv, (stdin,) if stdin else (), timeout=timeout, sudo=sudo)

    def stream(
        self, argv: Sequence[str], chunks: Iterable[bytes], *, timeout: float, sudo: bool = True,
        sink: Sink | None = None,
    ) -> Completed:
        """Run one command while `chunks` flow into it; both of its streams are read meanwhile.

        With a `sink`, stdout goes there as it comes and is empty in the answer; what it raises ends the command's
        channel and is passed on.
        """
        elevated = sudo and self.target.elevates
        words = [*ENGLISH, *(("sudo", "-n", "--") if elevated else ()), *argv]
        doing = f"running {_short(argv)}"
        with self._channels:
            done = self._exec(shlex.join(words), chunks, time.monotonic() + timeout, doing, timeout, sink)
        fault = faults.sudo_fault(self.name, self.target.user, done.stderr) if elevated and done.rc else None
        if fault is not None:
            raise fault
        return done

    def _exec(
        self, command: str, chunks: Iterable[bytes], deadline: float, doing: str, timeout: float,
        sink: Sink | None,
    ) -> Completed:
        channel: paramiko.Channel | None = None
        sender: _Sender | None = None
        try:
            channel = self.transport.open_session(timeout=CHANNEL_TIMEOUT)
            channel.settimeout(STALL_TIMEOUT)
            channel.exec_command(command)
            sender = _Sender(channel, chunks)
            sender.start()
            return _drain(channel, deadline, sink)
        except _SinkFault as e:
            raise e.cause from None
        except TimeoutError as e:
            raise HostFault(self.name, doing, f"no answer within {timeout:.0f} s", code="command-timeout") from e
        except faults.BROKEN as e:
            if sender is not None and sender.stalled:
                saw = f"no byte was accepted for {STALL_TIMEOUT:.0f} s"
                raise HostFault(self.name, doing, saw, code="command-timeout") from e
            raise faults.lost(self.name, doing, e) from e
        finally:
            if channel is not None:
                close_channel(channel)
            if sender is not None:
                sender.finish()

    def close(self) -> None:
        """Close the connection; commands that still run on the host are not ended by this."""
        self._closed.set()      # whoever tries to log in again gives up
        with self._lock:
            self._close()
            if self._own_gateway is not None:
                self._own_gateway.close()

    def _close(self) -> None:
        if self._fabric is not None:
            self._fabric.client.close()
            self._fabric = None

    def __enter__(self) -> Connection:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class _Sender(threading.Thread):
    """Feeds a command's stdin, so that its output can be read at the same time."""

    def __init__(self, channel: paramiko.Channel, chunks: Iterable[bytes]) -> None:
        super().__init__(name="ssh-stdin", daemon=True)
        self._channel = channel
        self._chunks = chunks
        self._fault: OSError | None = None
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
        try:
            self._channel.sendall(chunk)
        except TimeoutError:
            self.stalled = True
            close_channel(self._channel)
        except faults.BROKEN:
            return False    # the command ended before it read everything: its exit status tells why
        return not self.stalled

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


def _drain(channel: paramiko.Channel, deadline: float, sink: Sink | None) -> Completed:
    """Read both streams to their end, then the exit status; TimeoutError when the deadline passes first."""
    out, err = bytearray(), bytearray()
    take = out.extend if sink is None else _guarded(sink)
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    while True:
        if channel.recv_ready():
            take(channel.recv(READ_SIZE))
        if channel.recv_stderr_ready():
            err += channel.recv_stderr(READ_SIZE)
        if time.monotonic() > deadline:
            raise TimeoutError
        ended = channel.eof_received or channel.closed
        if ended and not channel.recv_ready() and not channel.recv_stderr_ready():
            break
        poller.poll(min(1000.0, max(1.0, (deadline - time.monotonic()) * 1000)))
    if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
        raise TimeoutError
    rc = channel.recv_exit_status()
    if rc < 0:
        raise paramiko.SSHException("no exit status")
    return Completed(rc, bytes(out), bytes(err))


def _guarded(sink: Sink) -> Sink:
    def take(data: bytes) -> None:
        try:
            sink(data)
        except OSError as e:
            raise _SinkFault(e) from e
    return take


def _short(argv: Sequence[str]) -> str:
    """Return the command for a message: long arguments (programs handed to python3 -c) shortened."""
    words = [w if len(w) <= 40 and "\n" not in w else w[:20].split("\n")[0] + "..." for w in argv]
    return shlex.join(words[:8])
