"""One host: a Fabric connection with strict host keys, and commands whose waits all have an end.

A login that stands but answers nothing (its process hangs, or the way behind a jump host is cut) is closed, and who
asks again gets a new one.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import fabric
import paramiko
from paramiko.transport import Transport

from provisioner.transport import elevation, faults
from provisioner.transport.faults import HostFault
from provisioner.transport.login import CHANNEL_TIMEOUT, FIRST_CHANNEL, Gateway, login
from provisioner.transport.serving import Ended, Late, Serving, Silent
from provisioner.transport.streams import (
    ANSWER,
    STALL_TIMEOUT,
    Completed,
    Sender,
    Sink,
    SinkFault,
    TooLong,
    drain,
    end,
    limited,
    ping,
)
from provisioner.transport.target import Target

PATIENCE = 75.0               # seconds to log in again where we were logged in: a minute's cut, and a bit
CHANNELS = 8                  # sshd's default MaxSessions is 10
REFUSED = 2                   # RFC 4254: a channel that was not opened for another reason than that it is forbidden
FREED = 5.0                   # seconds in which sshd notices that a session has ended, on a busy host
ENGLISH = ("env", "LC_ALL=C")  # whatever language the host speaks: what sudo says must be known to us
RETRY = 0.5                   # seconds between two tries to log in again
T = TypeVar("T")


class Mute(paramiko.SSHException):
    """sshd did not answer in time; its login has been closed."""


class Connection:
    """A login on one host; open it once, then use it from many threads (at most eight channels at a time)."""

    def __init__(self, target: Target, gateway: Gateway | None = None) -> None:
        self.target = target
        self._channels = threading.BoundedSemaphore(CHANNELS)
        self._lock = threading.Lock()
        self._ping = threading.Lock()
        self._closed = threading.Event()
        self._closes = 0
        self._stood = False
        self._proved: Transport | None = None       # the login that has answered something
        self._open: set[paramiko.Channel] = set()
        self._elevating = threading.Lock()
        self._elevates = False                      # sudo has taken the password, or asks for none
        self._wrong: HostFault | None = None        # it has not, and is not asked again
        self._more: Connection | None = None
        self._serving: Serving | None = None
        self._served_in: Transport | None = None    # the login in which that was begun
        self._starting = threading.Lock()
        self._senders: set[Sender] = set()
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
                if self._gateway is not None and fault.code == "timeout":
                    self._gateway.prove()
                if fault.code not in faults.PASSING or time.monotonic() > limit or self._closed.wait(RETRY):
                    self._stood = self._stood and not patient
                    raise

    def _log_in(self) -> None:
        closed = self._closes
        with self._lock:
            if not self.is_open:
                self._close()
                through = self._gateway.open(self.name) if self._gateway is not None else None
                self._fabric = login(self.target, self.target.hop, through, self.name)
                self._stood = True
        if self._closes != closed:      # meanwhile: who closes does not wait for who logs in
            with self._lock:
                self._close()
            raise faults.lost(self.name, "connecting", paramiko.SSHException("closed here"))

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
        elevated, doing = sudo and self.target.elevates, f"running {_short(argv)}"
        deadline = time.monotonic() + timeout
        words, chunks = self._as_root(argv, chunks) if elevated else (argv, chunks)
        if not self._channels.acquire(timeout=timeout):
            raise self._late(doing, timeout)
        try:
            done = self._exec(shlex.join([*ENGLISH, *words]), chunks, deadline, doing, timeout, sink)
        finally:
            self._channels.release()
        fault = faults.sudo_fault(self.name, self.target.user, done.stderr) if elevated and done.rc else None
        if fault is not None:
            raise fault
        return done

    def ask(self, serve: Sequence[str], first: bytes, command: str, request: Mapping[str, Any], timeout: float,
            ) -> Completed | None:
        """Ask the applier that serves in this login, started by `serve` and `first` where none does; None: none can.

        Then nothing was asked. Faults are those of `run`: a login that does not take the question is closed.
        """
        doing, end = f"running applier {command}", time.monotonic() + timeout
        if not self._starting.acquire(timeout=timeout):
            raise self._late(doing, timeout)
        try:
            serving = self._that_serves(serve, first, end)
        except TimeoutError as e:
            raise self._late(doing, timeout) from e
        except faults.BROKEN as e:
            raise faults.lost(self.name, doing, e) from e
        finally:
            self._starting.release()
        try:
            return None if serving is None else serving.ask(command, request, end - time.monotonic())
        except TooLong as e:
            raise self._too_long(doing) from e
        except Ended as e:
            raise faults.lost(self.name, doing, paramiko.SSHException("what served there has ended")) from e
        except Silent as e:
            raise faults.lost(self.name, doing, paramiko.SSHException(f"no answer for {CHANNEL_TIMEOUT:.0f} s")) from e
        except Late as e:
            raise self._late(doing, timeout) from e

    def _that_serves(self, argv: Sequence[str], first: bytes, end: float) -> Serving | None:
        """Return what serves in this login; None where it ended before it did, or all channels are in use."""
        before, transport = self._serving, self.transport
        if before is not None and not before.over:
            return before
        if before is not None and not before.ready and self._served_in is transport:
            return None
        words, chunks = self._as_root(argv, (first,)) if self.target.elevates else (argv, (first,))
        if not self._channels.acquire(blocking=False):
            return None
        channel: paramiko.Channel | None = None
        try:
            channel = self._begin(shlex.join([*ENGLISH, *words]), end)
            self._serving = Serving(channel, chunks, partial(self._silence, channel.get_transport()),
                                    partial(self._has_ended, channel), lambda: any(s.streams for s in [*self._senders]))
        except BaseException:
            self._has_ended(channel)
            raise
        self._served_in = transport
        return self._serving

    def _has_ended(self, channel: paramiko.Channel | None) -> None:
        try:
            if channel is not None:
                self._forget(channel)
                end(channel, None)
        finally:
            self._channels.release()

    def _as_root(self, argv: Sequence[str], chunks: Iterable[bytes]) -> tuple[Sequence[str], Iterable[bytes]]:
        """Return a command as sudo is given it, and what flows into it; a password is proved before it is sent."""
        password = self.target.password
        if password is None:
            return [*elevation.QUIET, *argv], chunks
        self._prove(password)
        return elevation.with_password(argv, chunks, password)

    def _prove(self, password: str) -> None:
        """Let sudo judge the password once, before anything else is sent: PAM counts wrong ones, and may lock a user.
        """
        with self._elevating:
            if self._wrong is not None:
                raise self._wrong
            if self._elevates:
                return
            done = self._exec(shlex.join([*ENGLISH, *elevation.PROOF]), (elevation.told(password),),
                              time.monotonic() + FIRST_CHANNEL, "becoming root", FIRST_CHANNEL, None)
            fault = faults.sudo_fault(self.name, self.target.user, done.stderr) if done.rc else None
            if fault is not None and fault.code == elevation.WRONG:
                self._wrong = fault
            if fault is not None:
                raise fault
            self._elevates = True       # what else may be wrong, the command itself tells

    def _exec(
        self, command: str, chunks: Iterable[bytes], deadline: float, doing: str, timeout: float,
        sink: Sink | None,
    ) -> Completed:
        channel: paramiko.Channel | None = None
        sender: Sender | None = None
        try:
            channel = self._begin(command, deadline)
            transport = channel.get_transport()
            sender = Sender(channel, chunks)
            self._senders.add(sender)
            sender.start()
            return drain(channel, sender, deadline, sink, lambda: self._silence(transport))
        except SinkFault as e:
            raise e.cause from None
        except TooLong as e:
            raise self._too_long(doing) from e
        except TimeoutError as e:
            raise self._late(doing, timeout) from e
        except faults.BROKEN as e:
            if sender is not None and sender.stalled:
                saw = f"no byte was accepted for {STALL_TIMEOUT:.0f} s"
                raise HostFault(self.name, doing, saw, code="command-timeout") from e
            raise faults.lost(self.name, doing, e) from e
        finally:
            if channel is not None:
                self._forget(channel)
                end(channel, sender)
            if sender is not None:
                self._senders.discard(sender)

    def _late(self, doing: str, timeout: float) -> HostFault:
        return HostFault(self.name, doing, f"no answer within {timeout:.0f} s", code="command-timeout")

    def _too_long(self, doing: str) -> HostFault:
        saw = f"no answer, but more than {ANSWER >> 20} MiB of words"
        return HostFault(self.name, doing, saw, code="answer-too-long")

    def _begin(self, command: str, deadline: float) -> paramiko.Channel:
        """Return a channel in which the command runs; where sshd opens no more in this login, one of another login."""

        def ask(transport: Transport) -> paramiko.Channel:
            channel = _session(transport)
            channel.settimeout(STALL_TIMEOUT)
            channel.exec_command(command)
            return channel

        limit = time.monotonic() + FREED
        while True:
            try:
                channel = self._answered(deadline - time.monotonic(), ask)
                self._open.add(channel)
                return channel
            except paramiko.ChannelException as e:
                if self._open:
                    return self._beside()._begin(command, deadline)
                if time.monotonic() > limit or self._closed.wait(RETRY / 5):
                    raise faults.session_fault(self.name) from e

    def _beside(self) -> Connection:
        """Return another login on this host: MaxSessions of its sshd lets in fewer commands at a time than we have."""
        with self._ping:
            if self._more is None:
                self._more = Connection(self.target, self._gateway)
            return self._more

    def _forget(self, channel: paramiko.Channel) -> None:
        self._open.discard(channel)
        if self._more is not None:
            self._more._forget(channel)

    def forward(self, far: tuple[str, int], near: tuple[str, int]) -> paramiko.Channel:
        """Open a channel to an address as the host sees it; what paramiko raises says why there is none."""
        return self._answered(2 * FIRST_CHANNEL, lambda transport: transport.open_channel(
            "direct-tcpip", far, near, timeout=2 * FIRST_CHANNEL))

    def _answered(self, seconds: float, ask: Callable[[Transport], T]) -> T:
        """Return what sshd answers; TimeoutError after `seconds`, Mute where it should have answered long ago.

        Then the login is closed. The first answer may take longer: sshd opens the session of a login before it.
        """
        transport = self.transport
        patience = CHANNEL_TIMEOUT if transport is self._proved else FIRST_CHANNEL
        limit, began = min(seconds, patience), time.monotonic()
        try:
            with limited(limit, transport):
                answer = ask(transport)
        except paramiko.ChannelException:       # a refusal is an answer
            self._proved = transport
            raise
        except faults.BROKEN as e:
            if time.monotonic() - began < limit:
                raise
            if seconds <= patience:
                raise TimeoutError from e
            raise Mute(f"no answer for {limit:.0f} s") from e
        self._proved = transport
        return answer

    def _silence(self, transport: Transport) -> None:
        with self._ping:        # paramiko knows one question at a time
            ping(transport)

    def close(self) -> None:
        """Close the connection; commands that still run on the host are not ended by this."""
        self._closes += 1
        self._closed.set()      # whoever tries to log in again gives up
        if self._more is not None:
            self._more.close()
        if self._own_gateway is not None:
            self._own_gateway.close()
        if self._lock.acquire(blocking=False):      # else somebody logs in just now, and will see that it is closed
            try:
                self._close()
            finally:
                self._lock.release()

    def _close(self) -> None:
        if self._fabric is not None:
            self._fabric.client.close()
            self._fabric = None

    def __enter__(self) -> Connection:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _session(transport: Transport) -> paramiko.Channel:
    try:
        return transport.open_session(timeout=2 * FIRST_CHANNEL)
    except paramiko.ChannelException:
        raise
    except paramiko.SSHException as e:
        if not transport.is_active():
            raise
        # paramiko keeps one reason for all channels, and another thread has taken ours
        raise paramiko.ChannelException(REFUSED, str(e)) from e


def _short(argv: Sequence[str]) -> str:
    """Return the command for a message: long arguments (programs handed to python3 -c) shortened."""
    words = [w if len(w) <= 40 and "\n" not in w else w[:20].split("\n")[0] + "..." for w in argv]
    return shlex.join(words[:8])
