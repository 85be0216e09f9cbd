"""A run's hosts give one another artifacts: over TLS that both sides prove with certificates of this run alone.

Who asks names a digest and gets the bytes of a file that this process stored, or `none`; nothing else is served. Keys
are in memory only, and what listens ends with its process. What a peer gave is checked like any other bytes.
"""

from __future__ import annotations

import mmap
import os
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from typing import Any, Iterator, Mapping

from . import artifacts
from .host import Host

CALLERS = 64        # connections at a time; who comes on top of these is sent away
CONNECT = 5.0       # seconds: packets that a firewall drops are not waited for longer
STALL = 10.0        # seconds without a byte
SLACK = 10.0        # seconds that a file may take beyond its bytes at this rate:
RATE = 2_000_000    # bytes a second, as the operator's own streams: slower is broken
LINE = 128


class Lost(Exception):
    """The peer did not give what it was asked for; the text says why."""


class Lied(Lost):
    """The peer gave other bytes than those of the digest."""


def context(tls: Mapping[str, str], *, server: bool) -> ssl.SSLContext:
    """Return a context that proves us by this run's certificate and takes only others of its CA."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=tls["ca"])
    # Python reads a key from a file only: this one has no name, and is gone when it is closed.
    with os.fdopen(os.memfd_create("share"), "wb") as file:
        file.write((tls["certificate"] + tls["key"]).encode())
        file.flush()
        made.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return made


class Server:
    """Serves what `add` names, until `close` or the end of the process."""

    def __init__(self, address: str, tls: Mapping[str, str]) -> None:
        self._context = context(tls, server=True)
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=self._family, backlog=CALLERS)
        self._room = threading.BoundedSemaphore(CALLERS)
        self._served: dict[str, str] = {}
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def add(self, digest: str, place: str) -> None:
        """Serve a file from now on."""
        self._served[digest] = place

    def close(self) -> None:
        """Listen no more and serve nothing."""
        self._served.clear()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)       # wakes up who accepts
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            if self._room.acquire(blocking=False):
                threading.Thread(target=self._answer, args=(caller,), daemon=True).start()
            else:
                caller.close()

    def _answer(self, caller: socket.socket) -> None:
        try:
            caller.settimeout(STALL)
            with caller, suppress(OSError), self._context.wrap_socket(caller, server_side=True) as stream:
                self._give(stream, _line(stream))
        finally:
            self._room.release()

    def _give(self, stream: ssl.SSLSocket, digest: str) -> None:
        place = self._served.get(digest)
        if place is None:
            stream.sendall(b"none\n")
            return
        with open(place, "rb", buffering=0) as file, memoryview(mmap.mmap(-1, artifacts.CHUNK)) as buffer:
            stream.sendall(b"%d\n" % os.fstat(file.fileno()).st_size)
            while self._served:
                got = file.readinto(buffer)
                if not got:
                    return
                stream.sendall(buffer[:got])


class Incoming:
    """What comes from a peer; Lost where that is too slow, or once it is `over`."""

    def __init__(self, stream: ssl.SSLSocket, deadline: float, over: threading.Event) -> None:
        self._stream, self._deadline, self._over = stream, deadline, over

    def readinto(self, part: memoryview) -> int:
        """Fill `part`, less only where the peer ends."""
        filled = 0
        with _the_peers():
            while filled < len(part):
                if self._over.is_set():
                    raise Lost("the run has ended")
                if time.monotonic() > self._deadline:
                    raise Lost(f"slower than {RATE / 1e6:g} MB/s")
                got = self._stream.recv_into(part[filled:])
                if not got:
                    break
                filled += got
        return filled


def fetch(host: Host, entry: Mapping[str, Any], peer: Mapping[str, Any], tls: ssl.SSLContext,
          over: threading.Event) -> None:
    """Take one artifact from a peer into the store; Lost where it does not give it, whole and right, in time."""
    deadline = time.monotonic() + SLACK + int(entry["size"]) / RATE
    with _the_peers():
        plain = socket.create_connection((peer["address"], int(peer["port"])), CONNECT)
    with plain:
        plain.settimeout(STALL)
        with _the_peers():
            stream = tls.wrap_socket(plain, server_hostname=peer["name"])
        with stream:
            with _the_peers():
                stream.sendall(entry["sha256"].encode() + b"\n")
                said = _line(stream)
            if said != str(entry["size"]):
                raise Lost(f"it has {said} in place of {entry['size']} bytes" if said else "it said nothing")
            wrong = artifacts.take(host, entry, Incoming(stream, deadline, over))
            if wrong:
                raise Lied(wrong)


def _line(stream: ssl.SSLSocket) -> str:
    """Return a short line; what comes without an end is cut."""
    said = b""
    while not said.endswith(b"\n") and len(said) < LINE:
        got = stream.recv(1)
        if not got:
            break
        said += got
    return said.decode(errors="replace").strip()


@contextmanager
def _the_peers() -> Iterator[None]:
    """What goes wrong on the way to a peer is Lost, and no fault of this host."""
    try:
        yield
    except TimeoutError as fault:
        raise Lost("no answer in time") from fault
    except OSError as fault:
        raise Lost(str(fault.strerror or fault)) from fault
