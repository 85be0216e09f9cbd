"""Sum up attempts as they come: failures, gaps, cuts, the ledger. Pure: equal batches give equal sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from provisioner.model.availability import Attempt, Batch, SeriesResult

REASONS = 5     # kinds of failure that are kept by their words; the others are counted under OTHER
OTHER = "other reasons"


@dataclass
class _Sum:
    """One series on one host; `good` is when it last succeeded, by the clock of the channel that goes on now."""

    interval: float
    attempts: int = 0
    failures: int = 0
    cuts: int = 0
    reopened: int = 0
    gap: float = 0.0
    slowest: float = 0.0
    good: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, one: Attempt) -> None:
        """Count one attempt; its end is the moment at which the service was seen to work, or not to."""
        self.cuts += one.cut or one.ended == "cut"
        self.reopened += bool(one.ended)
        if not one.line:
            self.attempts += 1
            self.slowest = max(self.slowest, 0.0 if one.why else one.took)
        if one.why:
            self.failures += 1
            known = one.why in self.reasons or len(self.reasons) < REASONS
            self.reasons[one.why if known else OTHER] += 1
        # The first attempt of a channel was due when it began, so the one before it is taken as just in time.
        before = one.at - self.interval if self.good is None else self.good
        end = one.at + one.took
        self.gap = max(self.gap, end - before - self.interval)
        self.good = before if one.why else end

    def result(self, series: str, host: str) -> SeriesResult:
        return SeriesResult(series, host, self.attempts, self.failures, dict(self.reasons), round(self.gap * 1000),
                            round(self.slowest * 1000), self.cuts, self.reopened)


class Tally:
    """The sums of a whole run; `rates` says how many successes a second each series should have."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        self._rates = dict(rates)
        self._sums: dict[tuple[str, str], _Sum] = {}
        self._channels: dict[str, int] = {}
        self.acknowledged: dict[str, set[int]] = {}

    def add(self, batch: Batch) -> None:
        """Count what one host told. What was not seen, or not by a host that ran, is no gap: counting begins anew."""
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
            self._sums[key].add(one)
            if one.number is not None and not one.why:
                self.acknowledged.setdefault(one.series, set()).add(one.number)

    def results(self) -> tuple[SeriesResult, ...]:
        """Return every series of every host, in the order in which they were first heard of."""
        return tuple(found.result(series, host) for (host, series), found in self._sums.items())
