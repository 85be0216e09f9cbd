"""Logging in: Fabric with strict host keys, our own known_hosts file only, through a jump host where there is one."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import fabric
import paramiko
from paramiko.transport import Transport

from provisioner.transport import agent, faults, hostkeys, streams
from provisioner.transport.target import Hop, Target

CONNECT_TIMEOUT = 15.0
CHANNEL_TIMEOUT = 15.0
FIRST_CHANNEL = 60.0          # seconds, as Ansible's `timeout`: PAM modules may take long to open a login's session
KEEPALIVE = 10                # seconds between two words of ours while we wait: so a dead peer is noticed
DEAD_PEER_MS = 30_000         # unacknowledged bytes for this long: the kernel gives the connection up
TRIES = 6                     # sshd's default MaxStartups 10:30:100 drops strangers at random
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")

# paramiko writes tracebacks of failed handshakes to stderr; our faults say the same in one line.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class Timely(Transport):
    """A transport whose handshake ends in time or in NeverGreeted; paramiko's own goes on then and fails elsewhere."""

    def __init__(self, sock: Any, **kwargs: Any) -> None:
        super().__init__(sock, **kwargs)
        # Its own end of a handshake looks like an sshd that hangs up, which is tried again: ours has to come first.
        self.handshake_timeout = 2 * CONNECT_TIMEOUT

    def start_client(self, event: threading.Event | None = None, timeout: float | None = None) -> None:
        """Negotiate; where the wait for sshd's greeting ends first, paramiko says the same as when sshd hangs up."""
        try:
            super().start_client(event, timeout)
        except paramiko.SSHException as e:
            if isinstance(e.__context__, TimeoutError):
                raise faults.NeverGreeted(str(e)) from e
            raise
        if event is None and not self.initial_kex_done:
            raise faults.NeverGreeted("the handshake did not end")


class Gateway:
    """One login on a jump host, shared by all connections that go through it: sshd there greets us once."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._fabric: fabric.Connection | None = None
        self._closes = 0
        self._tries = 0
        self._fault: BaseException | None = None        # why the last login failed

    def open(self, host: str) -> fabric.Connection:
        """Return the open login; its faults are told for `host`, which is why we go there."""
        closed, tries = self._closes, self._tries
        with self._lock:
            if self._fabric is None or not self._fabric.is_connected:
                self._fabric = self._log_in(host, met=self._tries != tries)
            opened = self._fabric
        if self._closes != closed:      # meanwhile: who closes does not wait for who logs in
            with self._lock:
                self._close()
            raise faults.lost(host, "connecting", paramiko.SSHException("closed here"))
        return opened

    def _log_in(self, host: str, *, met: bool) -> fabric.Connection:
        """Log in; where that failed while we waited for our turn (`met`) tell the same: all wait once, not in turn."""
        jump = self._target.jump
        assert jump is not None  # noqa: S101 - a Gateway is made for targets with a jump only
        if met and self._fault is not None:
            raise faults.connect_fault(host, jump, self._fault, via=True) from self._fault
        self._close()
        try:
            made = login(self._target, jump, None, host)
        except faults.HostFault as fault:
            self._fault = fault.__cause__
            raise
        finally:
            self._tries += 1
        self._fault = None
        return made

    def prove(self) -> None:
        """Close the login if nobody answers there: what is behind it may be silent because of it."""
        with self._lock:
            if self._fabric is None or not self._fabric.is_connected:
                return
            with contextlib.suppress(*faults.BROKEN), streams.limited(CHANNEL_TIMEOUT, self._fabric.transport):
                self._fabric.transport.open_session(timeout=2 * CHANNEL_TIMEOUT).close()     # a refusal is an answer

    def close(self) -> None:
        """Close the login, and with it every connection through it."""
        self._closes += 1
        if self._lock.acquire(blocking=False):      # else somebody logs in just now, and will see that it is closed
            try:
                self._close()
            finally:
                self._lock.release()

    def _close(self) -> None:
        if self._fabric is not None:
            self._fabric.client.close()
            self._fabric = None


def login(target: Target, hop: Hop, gateway: fabric.Connection | None, host: str) -> fabric.Connection:
    """Open a connection to `hop` with the target's key and pinned hosts; a dropped handshake is tried again."""
    fault = faults.key_fault(host, target.key_file) if target.key_file is not None else None
    if fault is not None:
        raise fault
    try:
        held = agent.held(target.key_file) if target.key_file is not None else None
    except paramiko.PasswordRequiredException as e:
        raise faults.connect_fault(host, hop, e, via=hop == target.jump, key=target.key_file) from e
    for attempt in range(1, TRIES + 1):
        connection = _connection(target, hop, gateway, held)
        try:
            connection.open()
            return connection
        except faults.BROKEN as e:
            connection.client.close()
            if attempt == TRIES or not faults.is_drop(e):
                raise faults.connect_fault(host, hop, e, via=hop == target.jump, key=target.key_file) from e
        time.sleep(random.uniform(0.1, 0.4) * attempt)  # noqa: S311 - jitter, so that hosts do not retry in step
    raise AssertionError("the last attempt returns or raises")


def _connection(target: Target, hop: Hop, gateway: fabric.Connection | None, held: paramiko.PKey | None,
                ) -> fabric.Connection:
    pins = hostkeys.Pins(target.known_hosts_file, hop.known_hosts_name)
    config = fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig())
    key = target.key_file
    options: dict[str, Any] = {
        "transport_factory": partial(_transport, pins.types),
        "banner_timeout": CONNECT_TIMEOUT, "auth_timeout": CONNECT_TIMEOUT,
        "channel_timeout": CHANNEL_TIMEOUT, "allow_agent": key is None, "look_for_keys": key is None}
    if held is not None:
        options["pkey"] = held
    elif key is not None:
        options["key_filename"] = [str(key)]
    connection = fabric.Connection(
        hop.address, user=hop.user, port=hop.port, config=config, gateway=gateway or False,
        connect_timeout=int(CONNECT_TIMEOUT), connect_kwargs=options, forward_agent=False)
    connection.client.get_host_keys().clear()
    connection.client.set_missing_host_key_policy(hostkeys.OnlyPinned(pins))
    return connection


def _transport(types: Sequence[str], sock: Any, **kwargs: Any) -> Transport:
    """Make a transport that asks for keys of the pinned `types` first, and for the fast authenticated cipher.

    That is twice as fast as aes-ctr with hmac.
    """
    transport = Timely(sock, **kwargs)
    options = transport.get_security_options()
    options.ciphers = CIPHERS
    known = [t for t in types if t in options.key_types]
    options.key_types = (*known, *(t for t in options.key_types if t not in known))
    transport.set_keepalive(KEEPALIVE)
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    return transport
