"""A local port that ends at a host's side: how API and etcd calls travel without a route of their own."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType

import paramiko

from provisioner.transport.connection import Connection
from provisioner.transport.login import CHANNEL_TIMEOUT

_CHUNK = 1 << 16
_TICK_MS = 500


class Tunnel:
    """Listens on 127.0.0.1 at a free port; every accepted socket becomes a channel to (host, port) on the far side."""

    def __init__(self, connection: Connection, host: str, port: int) -> None:
        self._connection = connection
        self._far = (host, port)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    @property
    def address(self) -> tuple[str, int]:
        """Return the local end, for clients."""
        host, port = self._listener.getsockname()
        return str(host), int(port)

    def __enter__(self) -> Tunnel:
        self._connection.open()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(16)
        self._listener.settimeout(_TICK_MS / 1000)
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._listener.close()
        for thread in list(self._threads):
            thread.join(CHANNEL_TIMEOUT + 1)

    def _start(self, work: object, *args: object) -> None:
        self._threads = [t for t in self._threads if t.is_alive()]
        thread = threading.Thread(target=work, args=args, name="ssh-tunnel", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._start(self._carry, client)

    def _carry(self, client: socket.socket) -> None:
        with contextlib.closing(client):
            try:
                channel = self._connection.transport.open_channel(
                    "direct-tcpip", self._far, client.getpeername(), timeout=CHANNEL_TIMEOUT)
            except (paramiko.SSHException, OSError, EOFError):
                return          # the client sees its socket closed, as it would without a tunnel
            with contextlib.closing(channel):
                self._pump(client, channel)

    def _pump(self, client: socket.socket, channel: paramiko.Channel) -> None:
        poller = select.poll()
        poller.register(client, select.POLLIN)
        poller.register(channel.fileno(), select.POLLIN)
        channel.settimeout(CHANNEL_TIMEOUT)
        client.settimeout(CHANNEL_TIMEOUT)
        with contextlib.suppress(OSError, EOFError):
            while not self._stop.is_set():
                ready = {fd for fd, _ in poller.poll(_TICK_MS)}
                if client.fileno() in ready:
                    data = client.recv(_CHUNK)
                    if not data:
                        poller.unregister(client)
                        channel.shutdown_write()
                    channel.sendall(data)
                if channel.recv_ready():
                    client.sendall(channel.recv(_CHUNK))
                elif channel.eof_received or channel.closed:
                    return
