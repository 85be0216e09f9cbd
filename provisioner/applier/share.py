"""`share`: take artifacts from the operator, other hosts of the run or a mirror, as told, and give what has come.

It ends with stdin, or when nobody has said a word for a while; with it ends all that listens and all that is fetched.
"""

from __future__ import annotations

import functools
import json
import signal
import ssl
import threading
import zlib
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Callable, Iterator, Mapping, Optional

from . import artifacts, fence, lines, owned, peers
from .host import Fault, Host

PATIENCE = 15.0     # seconds without a byte on stdin: nobody is there any more
ENDING = 12.0       # seconds in which fetches that are cut come to their end
STDOUT = 1


class Voice:
    """The operator's half of the talk; a Fault ends it when nothing comes for `patience` seconds."""

    def __init__(self, stream: BinaryIO, patience: float) -> None:
        self._stream: Any = stream
        self._patience = patience
        signal.signal(signal.SIGALRM, self._silent)

    def _silent(self, number: int, frame: object) -> None:
        raise Fault(f"nobody has said a word for {self._patience:g} s")

    @contextmanager
    def _heard(self) -> Iterator[None]:
        signal.setitimer(signal.ITIMER_REAL, self._patience)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def line(self) -> bytes:
        """Return the next line; empty at the end."""
        with self._heard():
            return bytes(self._stream.readline())

    def readinto(self, part: memoryview) -> int:
        """Fill `part`, less only at the end."""
        filled = 0
        while filled < len(part):
            with self._heard():
                got = self._stream.readinto1(part[filled:])
            if not got:
                break
            filled += got
        return filled


class Packed:
    """What comes from the operator in packed pieces, each with its length before it."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._piece = memoryview(b"")

    def readinto(self, part: memoryview) -> int:
        """Fill `part`, less only at the end."""
        filled = 0
        while filled < len(part):
            if not len(self._piece):
                size = int.from_bytes(self._exactly(4), "big")
                self._piece = memoryview(zlib.decompressobj().decompress(self._exactly(size), artifacts.CHUNK))
                if not size or not len(self._piece):
                    break
            count = min(len(part) - filled, len(self._piece))
            part[filled:filled + count] = self._piece[:count]
            self._piece = self._piece[count:]
            filled += count
        return filled

    def _exactly(self, size: int) -> bytearray:
        if size > 2 * artifacts.CHUNK:
            raise Fault(f"a packed piece of {size} bytes")
        data = bytearray(size)
        if self._voice.readinto(memoryview(data)) < size:
            raise Fault("the stream ended early")
        return data


class Talk:
    """One call of `share`."""

    def __init__(self, host: Host, request: Mapping[str, Any], voice: Voice) -> None:
        self._host, self._request, self._voice = host, request, voice
        self._wanted: list[dict[str, Any]] = list(request["artifacts"])
        self._telling, self._over = threading.Lock(), threading.Event()
        self._fetches: list[threading.Thread] = []
        self._stored: list[str] = []
        self._refused: list[str] = []
        self._server: Optional[peers.Server] = None
        self._client: Optional[ssl.SSLContext] = None

    def run(self) -> dict[str, Any]:
        """Do what is said until nobody says more; return the last line."""
        self._tell(self._open())
        try:
            while True:
                line = self._voice.line()
                if not line:
                    break
                fenced = fence.refusal(self._host, self._request)
                if fenced is not None:
                    return fenced
                self._obey(json.loads(line) if line.strip() else {})
        finally:
            self._end()
        if self._refused:
            raise Fault(artifacts.REFUSED + "; ".join(self._refused))
        return {"stored": self._stored}

    def _open(self) -> dict[str, Any]:
        """Listen, where it is told what to prove itself by; where that cannot be, say why."""
        if "tls" not in self._request:
            return {"closed": ""}
        try:
            self._client = peers.context(self._request["tls"], server=False)
            self._server = peers.Server(str(self._request["address"]), self._request["tls"])
        except OSError as fault:        # an ssl.SSLError is one
            return {"closed": str(fault.strerror or fault)}
        return {"port": self._server.port}

    def _obey(self, order: Mapping[str, Any]) -> None:
        if "take" in order:
            number = int(order["take"])
            packed = bool(order.get("packed"))
            why = artifacts.take(self._host, self._wanted[number], Packed(self._voice) if packed else self._voice)
            self._refused += [why] if why else []
            self._became(number, why or None)
        elif "fetch" in order:
            self._begin(int(order["fetch"]), functools.partial(self._from_peer, order["from"]))
        elif "get" in order:
            self._begin(int(order["get"]), self._from_mirror)

    def _begin(self, number: int, bring: Callable[[dict[str, Any]], None]) -> None:
        fetching = threading.Thread(target=self._fetch, args=(number, bring), daemon=True)
        fetching.start()
        self._fetches.append(fetching)

    def _from_peer(self, peer: Mapping[str, Any], entry: dict[str, Any]) -> None:
        if self._client is None:
            raise peers.Lost("this host has no way to its peers")
        peers.fetch(self._host, entry, peer, self._client, self._over)

    def _from_mirror(self, entry: dict[str, Any]) -> None:
        from . import mirror
        mirror.fetch(self._host, entry, self._request["mirror"], self._over)

    def _fetch(self, number: int, bring: Callable[[dict[str, Any]], None]) -> None:
        why: Optional[str] = "the fetch ended by a fault of its own"
        lied = False
        try:
            bring(self._wanted[number])
            why = None
        except (peers.Lost, OSError, Fault) as fault:      # of a full disk too: the operator's bytes will tell of it
            why, lied = str(fault) or type(fault).__name__, isinstance(fault, peers.Lied)
        finally:
            self._became(number, why, lied)

    def _became(self, number: int, why: Optional[str], lied: bool = False) -> None:
        entry = self._wanted[number]
        if why is None:
            self._stored.append(entry["path"])
            if self._server is not None:
                self._server.add(entry["sha256"], self._host.at(entry["path"]))
        self._tell({"stored": number} if why is None else {"failed": number, "why": why, "lied": lied})

    def _tell(self, line: Mapping[str, Any]) -> None:
        with self._telling, suppress(BrokenPipeError, TimeoutError):     # who reads no more says no more
            lines.write(STDOUT, line, PATIENCE)

    def _end(self) -> None:
        self._over.set()
        if self._server is not None:
            self._server.close()
        for fetching in self._fetches:
            fetching.join(ENDING)


def share(host: Host, stream: BinaryIO) -> dict[str, Any]:
    """Take and give until stdin ends; `docs/reference/applier-protocol.md` has what is said on both sides."""
    voice = Voice(stream, PATIENCE)
    request = json.loads(voice.line())
    fenced = fence.refusal(host, request)
    if fenced is not None:
        return fenced
    owned.note_stored(host, [entry["path"] for entry in request["artifacts"]], str(request.get("step", "")))
    return Talk(host, request, voice).run()
