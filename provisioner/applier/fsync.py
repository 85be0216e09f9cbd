"""How long the disk takes until a small write is safe: what etcd does with each of its entries, timed one by one.

Writes of 2,300 bytes, 22 MiB of them, each synced, are what etcd's documentation has fio do for this question.
"""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any, Mapping

from . import places
from .host import Fault, Host

BLOCK = 2300
TOTAL = 22 << 20
SPARE = 64 << 20        # bytes that stay free, else nothing is written
LONGEST = 10.0


def measure(host: Host, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Write into `directory`, or its nearest parent, for at most `seconds`; return the times of all syncs.

    The file never has a name that could stay behind.
    """
    place = places.nearest(host.at(str(asked["directory"])))
    room = os.statvfs(place)
    free = room.f_bavail * room.f_frsize
    if free < TOTAL + SPARE:
        raise Fault(f"only {free >> 20} MiB are free")
    until = time.monotonic() + min(LONGEST, float(asked.get("seconds", LONGEST)))
    block = os.urandom(BLOCK)
    took: list[float] = []
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:    # O_TMPFILE; where there is none, unlinked at once
        descriptor = file.fileno()
        while len(took) * BLOCK < TOTAL and time.monotonic() < until:
            os.write(descriptor, block)
            began, waited = time.monotonic(), waiting()
            os.fdatasync(descriptor)
            took.append(max(0.0, time.monotonic() - began - (waiting() - waited)))
    return summary(took)


def waiting() -> float:
    """Return the seconds that this thread could have run and got no processor: a busy machine is no slow disk.

    From the kernel's schedstat; 0 where it keeps none.
    """
    try:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as stat:
            return int(stat.read(128).split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def summary(took: list[float]) -> dict[str, Any]:
    """Return how many, the middle one, the one that 1 of 100 exceeds, and the worst, in milliseconds."""
    if not took:
        raise Fault("no write was synced in time")
    ordered = sorted(took)
    ms = [round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2) for share in (0.5, 0.99, 1.0)]
    return {"samples": len(ordered), "p50": ms[0], "p99": ms[1], "worst": ms[2]}
