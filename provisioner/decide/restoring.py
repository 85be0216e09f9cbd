"""What a restore of etcd's data means for the objects that are there now, and by how much revisions have to grow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# etcd's own advice for Kubernetes (op-guide/recovery): a week at 1,500 writes a second.
BUMP = 1_000_000_000
BEATS = ("leases", "events", "masterleases", "peerserverleases")     # written every few seconds by the cluster itself


@dataclass(frozen=True)
class Difference:
    """Of one kind of object: how many were made since the snapshot, were deleted since, or were changed since."""

    kind: str
    lost: int
    back: int
    older: int

    @property
    def sentence(self) -> str:
        """Say what a restore does to them."""
        words = ((self.lost, "made since then, lost"), (self.back, "deleted since then, back"),
                 (self.older, "changed since then, as they were"))
        return "; ".join(f"{number} {word}" for number, word in words if number)


def bump(snapshot: int, seen: int) -> int:
    """Return by how much a snapshot's revisions grow, so that none is as low as what was `seen` of the cluster."""
    return BUMP + max(0, seen - snapshot)


def differences(snapshot: Mapping[bytes, int], now: Mapping[bytes, int]) -> Iterator[Difference]:
    """Compare keys and the revisions that they were last written at; kinds in order, what only beats at the end."""
    lost = Counter(_kind(key) for key in now.keys() - snapshot.keys())
    back = Counter(_kind(key) for key in snapshot.keys() - now.keys())
    older = Counter(_kind(key) for key, at in now.items() if snapshot.get(key, at) != at)
    for kind in sorted({*lost, *back, *older}, key=lambda kind: (kind in BEATS, kind)):
        yield Difference(kind, lost[kind], back[kind], older[kind])


def _kind(key: bytes) -> str:
    """Return what kind of object a key is of: /registry/KIND/..., or /registry/GROUP/KIND/... with a dot in GROUP."""
    parts = key.decode(errors="replace").strip("/").split("/")
    if len(parts) > 2 and "." in parts[1]:
        return parts[2]
    return parts[1] if len(parts) > 1 else parts[0]
