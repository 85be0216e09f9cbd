"""What a prober saw of a service: single attempts, as the host that made them timed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
