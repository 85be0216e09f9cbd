"""Who must reach whom in a cluster, and what trying it showed; values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ETCD_PEER = "etcd's members"    # the one need on which a majority hangs
PODS = "the Pod network"        # the one that sends packets of full size


class Need(NamedTuple):
    """`source` must reach `target` at a port (0 where the protocol has none), for `why`.

    `essential`: without it a part of the cluster does not work. `size`: the largest packet that it sends, 0 where that
    does not matter. `times`: how often it is tried, to know latency and loss.
    """

    source: str
    target: str
    protocol: str
    port: int
    why: str
    essential: bool = True
    size: int = 0
    times: int = 3

    @property
    def at(self) -> str:
        """Return what a firewall would have to let in, as `tcp 2380`."""
        return f"{self.protocol} {self.port}" if self.port else f"{self.protocol} (protocol 112)"


@dataclass(frozen=True)
class Tried:
    """What came of one need: `ok` None where it was not looked at, with `why`; else `why` is what failed.

    `ms` are latencies as the kernel measured them, `lost` how many of `of` connections needed a second packet, `passes`
    the largest packet that came through whole, None where that was not asked or, as `unsized` says, could not be.
    """

    need: Need
    ok: bool | None
    why: str = ""
    ms: tuple[float, ...] = ()
    lost: int = 0
    of: int = 0
    passes: int | None = None
    unsized: str = ""

    @property
    def median(self) -> float:
        """Return the middle latency in milliseconds, 0 where none is known."""
        return sorted(self.ms)[len(self.ms) // 2] if self.ms else 0.0


@dataclass(frozen=True)
class Alone:
    """What one host found out by itself; each part is None where it was not asked, `unseen` says why one could not be.

    `disk`: samples, p50, p99 and worst in milliseconds. `also`: hardware addresses that answer for the host's own
    address. `dns`: what its servers say. `routers`: (sender, VRRP id) of advertisements that it heard.
    """

    disk: Mapping[str, float] | None = None
    also: tuple[str, ...] | None = None
    dns: Mapping[str, object] | None = None
    routers: tuple[tuple[str, int], ...] | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)
    sized: bool = False     # has it a way on which packets of full size were to be tried?


@dataclass(frozen=True)
class Probed:
    """What one probing of a cluster showed: `alone` has the hosts that took part, `router` is our VRRP id."""

    tried: tuple[Tried, ...] = ()
    alone: Mapping[str, Alone] = field(default_factory=dict)
    router: int = 0

    @property
    def pairs(self) -> int:
        """Return how many pairs of hosts were tried, each way for itself."""
        return len({(t.need.source, t.need.target) for t in self.tried if t.ok is not None})

    @property
    def ways(self) -> int:
        """Return how many ways were tried: a pair has one for each port."""
        return sum(t.ok is not None for t in self.tried)

    def __str__(self) -> str:
        """Tell how much was tried, and what is known of the ways between etcd's members."""
        members = [t for t in self.tried if t.need.why == ETCD_PEER and t.ms]
        slowest = max((t.median for t in members), default=0.0)
        lost, of = sum(t.lost for t in members), sum(t.of for t in members)
        between = f"; between etcd's members at most {slowest:.2f} ms and {lost} of {of} lost" if members else ""
        disks = [(alone.disk["p99"], name) for name, alone in self.alone.items() if alone.disk]
        worst, where = max(disks, default=(0.0, ""))
        slow = f"; 99 of 100 small writes are safe after {worst:.1f} ms at most ({where})" if disks else ""
        return f"Probed {self.pairs:,} pairs of hosts, {self.ways:,} ways between them{between}{slow}."

    def to_json(self) -> dict[str, Any]:
        """Return what was tried as plain values."""
        return {"pairs": self.pairs, "ways": [
            {"from": t.need.source, "to": t.need.target, "protocol": t.need.protocol, "port": t.need.port, "ok": t.ok,
             "why": t.why, "ms": round(t.median, 3) if t.ms else None, "lost": t.lost, "of": t.of, "passes": t.passes}
            for t in self.tried], "disks": {name: alone.disk for name, alone in self.alone.items() if alone.disk}}
