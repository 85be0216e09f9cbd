"""A local port that ends at a host's side: how API and etcd calls travel without a route of their own.

Whoever speaks through it sees no more than a socket that closes, so a tunnel keeps the reason.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from types import TracebackType

import paramiko

from provisioner.transport import faults
from provisioner.transport.connection import Connection
from provisioner.transport.faults import HostFault
from provisioner.transport.login import CHANNEL_TIMEOUT
from provisioner.transport.streams import close_channel

_CHUNK = 1 << 16


def require_forwarding(connection: Connection, port: int) -> None:
    """Raise a HostFault where sshd lets nobody through to `port` of its own host; nobody need listen there."""
    try:
        connection.forward(("127.0.0.1", port), ("127.0.0.1", 0)).close()
    except faults.BROKEN as e:
        if faults.is_forbidden(e):
            raise faults.forwarding_fault(connection.name) from e
        if not isinstance(e, paramiko.ChannelException):
            raise faults.lost(connection.name, f"reaching port {port} through SSH", e) from e



class Tunnel:
    """Listens on 127.0.0.1 at a free port; every accepted socket becomes a channel to (host, port) on the far side."""

    def __init__(self, connection: Connection, host: str, port: int) -> None:
        self._connection = connection
        self._far = (host, port)
        self._end, self._leave = socket.socketpair()        # what wakes whoever waits: readable for good on leaving
        self._acceptor = threading.Thread(target=self._accept, name="ssh-tunnel", daemon=True)
        self._carriers: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._refusal: HostFault | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Return the local end, for clients."""
        host, port = self._listener.getsockname()
        return str(host), int(port)

    def refusal(self) -> HostFault | None:
        """Return why sshd did not let the last client through, None where it did or nobody tried."""
        return self._refusal

    def __enter__(self) -> Tunnel:
        self._connection.open()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(16)
        self._listener.setblocking(False)
        self._acceptor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._leave.close()
        self._acceptor.join()               # from then on no carrier begins
        limit = time.monotonic() + CHANNEL_TIMEOUT
        for carrier in self._carriers:
            carrier.join(max(0.0, limit - time.monotonic()))
        self._listener.close()
        self._end.close()

    def _accept(self) -> None:
        poller = self._poller(self._listener.fileno())
        while self._end.fileno() not in _ready(poller):
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:     # it has gone again
                continue
            except OSError:
                return
            carrier = threading.Thread(target=self._carry, args=(client,), name="ssh-tunnel", daemon=True)
            self._carriers = [*(c for c in self._carriers if c.is_alive()), carrier]
            carrier.start()

    def _poller(self, *descriptors: int) -> select.poll:
        poller = select.poll()
        for descriptor in (self._end.fileno(), *descriptors):
            poller.register(descriptor, select.POLLIN)
        return poller

    def _carry(self, client: socket.socket) -> None:
        with contextlib.closing(client):
            try:
                channel = self._connection.forward(self._far, client.getpeername())
            except HostFault as fault:          # the connection was lost, and the host does not answer any more
                self._refusal = fault
                return
            except paramiko.ChannelException as e:
                self._refusal = faults.forwarding_fault(self._connection.name) if faults.is_forbidden(e) else None
                return
            except faults.BROKEN:
                return          # the client sees its socket closed, as it would without a tunnel
            self._refusal = None
            try:
                self._pump(client, channel)
            finally:
                close_channel(channel)

    def _pump(self, client: socket.socket, channel: paramiko.Channel) -> None:
        poller = self._poller(client.fileno(), channel.fileno())
        channel.settimeout(CHANNEL_TIMEOUT)
        client.settimeout(CHANNEL_TIMEOUT)
        with contextlib.suppress(*faults.BROKEN):
            while self._end.fileno() not in (ready := _ready(poller)):
                if client.fileno() in ready:
                    data = client.recv(_CHUNK)
                    if not data:
                        poller.unregister(client)
                        channel.shutdown_write()
                    channel.sendall(data)
                ended = channel.eof_received or channel.closed      # asked first: what came before the end is there
                if channel.recv_ready():
                    client.sendall(channel.recv(_CHUNK))
                elif ended:
                    return


def _ready(poller: select.poll) -> set[int]:
    """Wait until something can be read, and return what."""
    return {descriptor for descriptor, _ in poller.poll()}
