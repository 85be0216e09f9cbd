"""Sum up attempts as they come: failures, gaps, cuts, the ledger, slices of time. Pure: equal batches, equal sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from provisioner.model.availability import Attempt, Batch, Curve, SeriesResult, Timeline

REASONS = 5     # kinds of failure that are kept by their words; the others are counted under OTHER
OTHER = "other reasons"
SLICES = 600    # of time that are kept; when a measurement lasts longer, two become one


@dataclass
class _Sum:
    """One series on one host; `good` is when it last succeeded, by the clock of the channel that goes on now."""

    interval: float
    attempts: int = 0
    failures: int = 0
    cuts: int = 0
    reopened: int = 0
    gap: float = 0.0
    gap_at: float = 0.0
    slowest: float = 0.0
    good: float | None = None
    streak: int = 0
    in_a_row: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, one: Attempt, began: float) -> None:
        """Count one attempt; its end is the moment at which the service was seen to work, or not to."""
        self.cuts += one.cut or one.ended == "cut"
        self.reopened += bool(one.ended)
        if not one.line:
            self.attempts += 1
            self.slowest = max(self.slowest, 0.0 if one.why else one.took)
        self.streak = self.streak + 1 if one.why else 0
        self.in_a_row = max(self.in_a_row, self.streak)
        if one.why:
            self.failures += 1
            known = one.why in self.reasons or len(self.reasons) < REASONS
            self.reasons[one.why if known else OTHER] += 1
        # The first attempt of a channel was due when it began, so the one before it is taken as just in time.
        before = one.at - self.interval if self.good is None else self.good
        end = one.at + one.took
        if end - before - self.interval > self.gap:
            self.gap, self.gap_at = end - before - self.interval, began + before + self.interval
        self.good = before if one.why else end

    def result(self, series: str, host: str) -> SeriesResult:
        return SeriesResult(series, host, self.attempts, self.failures, dict(self.reasons), round(self.gap * 1000),
                            round(self.slowest * 1000), self.cuts, self.reopened, round(self.gap_at, 1),
                            self.in_a_row)


@dataclass
class _Slices:
    """Attempts, failures and the slowest answer of every series by slice of time."""

    seconds: float = 1.0
    counts: dict[str, dict[int, tuple[int, int, float]]] = field(default_factory=dict)

    def add(self, one: Attempt, began: float) -> None:
        """Count an attempt, or a sign of life, where it began."""
        while began + one.at >= SLICES * self.seconds:
            self._coarsen()
        self._count(self.counts.setdefault(one.series, {}), max(0, int((began + one.at) // self.seconds)),
                    (1, int(bool(one.why)), 0.0 if one.why or one.line else one.took))

    def _coarsen(self) -> None:
        self.seconds *= 2
        for series, fine in self.counts.items():
            coarse: dict[int, tuple[int, int, float]] = {}
            for index, seen in fine.items():
                self._count(coarse, index // 2, seen)
            self.counts[series] = coarse

    @staticmethod
    def _count(counts: dict[int, tuple[int, int, float]], index: int, seen: tuple[int, int, float]) -> None:
        attempts, failures, slowest = counts.get(index, (0, 0, 0.0))
        counts[index] = attempts + seen[0], failures + seen[1], max(slowest, seen[2])

    def result(self) -> Timeline:
        length = max((max(of_series) + 1 for of_series in self.counts.values()), default=0)
        return Timeline(self.seconds, {name: self._curve(counts, length) for name, counts in self.counts.items()})

    @staticmethod
    def _curve(counts: Mapping[int, tuple[int, int, float]], length: int) -> Curve:
        rows = [counts.get(index, (0, 0, 0.0)) for index in range(length)]
        return Curve(tuple(r[0] for r in rows), tuple(r[1] for r in rows), tuple(round(r[2] * 1000) for r in rows))


class Tally:
    """The sums of a whole run; `rates` says how many successes a second each series should have."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        self._rates = dict(rates)
        self._sums: dict[tuple[str, str], _Sum] = {}
        self._slices = _Slices()
        self._channels: dict[str, int] = {}
        self.acknowledged: dict[str, set[int]] = {}

    def add(self, batch: Batch, began: float = 0.0) -> None:
        """Count what one host told over a channel that began `began` seconds after the measurement.

        What was not seen, or not by a host that ran, is no gap: counting begins anew.
        """
        if batch.blind or self._channels.get(batch.host) != batch.channel:
            for (host, _), found in self._sums.items():
                if host == batch.host:
                    found.good = None
        self._channels[batch.host] = batch.channel
        for one in batch.attempts:
            if one.blind:
                continue
            key = (batch.host, one.series)
            if key not in self._sums:
                self._sums[key] = _Sum(1.0 / self._rates[one.series])
            self._sums[key].add(one, began)
            self._slices.add(one, began)
            if one.number is not None and not one.why:
                self.acknowledged.setdefault(one.series, set()).add(one.number)

    def results(self) -> tuple[SeriesResult, ...]:
        """Return every series of every host, in the order in which they were first heard of."""
        return tuple(found.result(series, host) for (host, series), found in self._sums.items())

    def timeline(self) -> Timeline:
        """Return all series over time."""
        return self._slices.result()
