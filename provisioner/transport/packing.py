"""Files packed on their way where that way is slow: on a fast one packing takes longer than it saves."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 20
SLOW = 3_000_000    # bytes a second of one stream; four of them are an uplink of 100 Mbit/s
LEVEL = 1           # the fastest


class Pace:
    """How fast files went out as they are, and packed: what the next one is to do follows from it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rates: dict[bool, float] = {}

    def packs(self) -> bool:
        """Say whether the next file is to be packed: tried where the way is slow, kept where that was faster."""
        with self._lock:
            plain, packed = self._rates.get(False), self._rates.get(True)
        return plain is not None and plain < SLOW and (packed is None or packed > plain)

    def saw(self, size: int, seconds: float, *, packed: bool) -> None:
        """Remember a file that went out; of several the newest counts most."""
        rate = size / max(seconds, 0.001)
        with self._lock:
            self._rates[packed] = (self._rates.get(packed, rate) + rate) / 2


def pieces(path: Path, pace: Pace, *, packed: bool) -> Iterator[tuple[bytes, int]]:
    """Yield a file as it goes out, and how much of it each piece is; its pace is what the stream took of it."""
    began, size = time.monotonic(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield (_packed(chunk) if packed else chunk), len(chunk)
            size += len(chunk)
    pace.saw(size, time.monotonic() - began, packed=packed)


def _packed(chunk: bytes) -> bytes:
    data = zlib.compress(chunk, LEVEL)
    return len(data).to_bytes(4, "big") + data
