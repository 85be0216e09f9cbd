"""What a prober saw of a service: single attempts as their host timed them, their sum, and what may go wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from provisioner.errors import UsageFault


@dataclass(frozen=True)
class Attempt:
    """One attempt of a series, or one sign of life of a stream (`line`).

    `at` and `took` are seconds by the clock of the host that made it, `at` since its channel began. `why` is empty for
    a success. `cut`: the connection ended between the request and the end of its answer. `number` is that of a numbered
    attempt. `ended` says for the opening of a stream how the one before it ended: `closed` by the server, or `cut`.
    `blind`: the host itself stood still meanwhile, so this says nothing of the service.
    """

    series: str
    at: float
    took: float = 0.0
    why: str = ""
    cut: bool = False
    number: int | None = None
    line: bool = False
    ended: str = ""
    blind: bool = False


@dataclass(frozen=True)
class Batch:
    """What one host's channel told at once: all attempts that ended before `until` seconds of that channel.

    `channel` counts from 0; clocks of two channels have nothing to do with each other. `blind` are seconds in which
    the host stood still; `last` says that the channel ended in good order.
    """

    host: str
    channel: int
    until: float
    attempts: tuple[Attempt, ...] = ()
    blind: float = 0.0
    last: bool = False


def batch_of(host: str, channel: int, line: Mapping[str, Any]) -> Batch:
    """Make a batch of one line of the applier's `sample`; KeyError or TypeError when it is none."""
    attempts = tuple(
        Attempt(str(a["s"]), float(a["at"]), float(a.get("took", 0.0)), str(a.get("why", "")), bool(a.get("cut")),
                a.get("n"), bool(a.get("line")), str(a.get("end", "")), bool(a.get("blind")))
        for a in line["attempts"])
    return Batch(host, channel, float(line["until"]), attempts, float(line.get("blind", 0.0)), "end" in line)


@dataclass(frozen=True)
class SeriesResult:
    """What one series found from one host.

    `reasons` counts failures by their words, the first ones first. `gap_ms`: the longest time that a success came later
    than its turn after the success before it (or that failures went on); 0 where every attempt was answered at once.
    `cuts`: requests and streams that broke off before their end. `reopened`: streams that ended and were opened again.
    `in_a_row`: the most failures that followed one another.
    `gap_at`: when the longest gap began, in seconds since the measurement did.
    """

    series: str
    host: str
    attempts: int
    failures: int
    reasons: Mapping[str, int]
    gap_ms: int
    slowest_ms: int
    cuts: int = 0
    reopened: int = 0
    gap_at: float = 0.0
    in_a_row: int = 0


class Curve(NamedTuple):
    """One series over time, all hosts together: a number for each slice of time."""

    attempts: tuple[int, ...]
    failures: tuple[int, ...]
    slowest_ms: tuple[int, ...]


@dataclass(frozen=True)
class Timeline:
    """The attempts by the slice of `seconds` in which they began, counted since the measurement did."""

    seconds: float = 1.0
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"seconds": self.seconds, "curves": {name: curve._asdict() for name, curve in self.curves.items()}}


@dataclass(frozen=True)
class Availability:
    """What the prober saw of a cluster in `seconds`.

    `writes` were acknowledged, `lost` of them are not in the cluster with their value (None: that could not be asked).
    `leader_changes` of etcd are new raft terms (None: not seen). `not_seen`: for each host the seconds of which nothing
    is known, with the last reason in `faults`. `began` is in seconds since 1970.
    """

    seconds: float
    series: tuple[SeriesResult, ...] = ()
    writes: int = 0
    lost: int | None = 0
    leader_changes: int | None = None
    not_seen: Mapping[str, float] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    began: float = 0.0
    timeline: Timeline = field(default_factory=Timeline)

    @property
    def attempts(self) -> int:
        return sum(s.attempts for s in self.series)

    @property
    def failures(self) -> int:
        return sum(s.failures for s in self.series)

    @property
    def cuts(self) -> int:
        return sum(s.cuts for s in self.series)

    @property
    def gap_ms(self) -> int:
        """Return the longest gap of all series."""
        return max((s.gap_ms for s in self.series), default=0)

    @property
    def not_seen_seconds(self) -> float:
        """Return the longest time that was not seen from one host."""
        return round(max(self.not_seen.values(), default=0.0), 1)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        names = ("began", "seconds", "attempts", "failures", "gap_ms", "cuts", "writes", "lost", "leader_changes",
                 "not_seen_seconds")
        return {name: getattr(self, name) for name in names} | {
            "not_seen": dict(self.not_seen), "faults": dict(self.faults),
            "series": [{**asdict(s), "reasons": dict(s.reasons)} for s in self.series],
            "timeline": self.timeline.to_json()}


@dataclass(frozen=True)
class Budget:
    """How much may go wrong (`--slo`): failed attempts, the longest gap, cut requests; None: as much as likes to.

    A budget of any kind has none for lost writes.
    """

    failures: int | None = None
    gap_ms: int | None = None
    cuts: int | None = None

    @property
    def is_given(self) -> bool:
        return self != Budget()

    def spent(self, seen: Availability) -> list[str]:
        """Say what has gone wrong beyond the budget; nothing when it holds."""
        limits = (("failed attempts", seen.failures, self.failures, ""),
                  ("longest gap", seen.gap_ms, self.gap_ms, " ms"), ("cut requests", seen.cuts, self.cuts, ""))
        over = [f"{what}: {saw}{unit}, allowed are {limit}{unit}"
                for what, saw, limit, unit in limits if limit is not None and saw > limit]
        return over + ([f"acknowledged writes lost: {seen.lost}"] if seen.lost else [])


def budget_of(words: Sequence[str]) -> Budget:
    """Read `--slo` words: `failures=N`, `cuts=N`, `gap=500ms` or `gap=2s`; UsageFault for another."""
    found: dict[str, int] = {}
    for word in words:
        match = _BUDGET.fullmatch(word)
        if match is None:
            raise UsageFault(f"--slo {word}: not failures=N, cuts=N, gap=Nms or gap=Ns", code="slo-form",
                             hint="--slo failures=0 --slo gap=500ms")
        name, number, unit = match["count"] or "gap_ms", int(match["number"] or match["time"]), match["unit"]
        found[name] = number * 1000 if unit == "s" else number
    return Budget(**found)


_BUDGET = re.compile(r"(?P<count>failures|cuts)=(?P<number>\d+)|gap=(?P<time>\d+)(?P<unit>ms|s)")
