"""How many hosts at a time, and in which order: decided from what is known of them, never while acting."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from provisioner.errors import UsageFault
from provisioner.model.components import INTERRUPTING
from provisioner.model.observed import UnitState
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Change

# On a unit that runs.
TAKES_AWAY = ("restart", "reload", "remove")
_LIMIT = re.compile(r"([0-9]{1,6})(%?)")


@dataclass(frozen=True)
class Limit:
    """How many workers may be worked on together: a number, or a share of all of them in percent."""

    number: int = 1
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read `3` or `25%`; UsageFault for anything else, 0 and more than 100 % included."""
        found = _LIMIT.fullmatch(text)
        if not found or not int(found[1]) or (found[2] and int(found[1]) > 100):
            raise UsageFault(f"--max-unavailable {text}: neither a number from 1 nor a share from 1% to 100%",
                             hint="kubewright up --max-unavailable 25%")
        return cls(int(found[1]), bool(found[2]))

    def of(self, workers: int) -> int:
        """Return how many of so many workers: a share is rounded down, but one there always is."""
        return max(1, workers * self.number // 100) if self.percent else self.number


@dataclass(frozen=True)
class Standing:
    """What asking the cluster said of hosts before their turn.

    `down` serve nobody even together: what is done to them takes nothing away. `first` are to be repaired before a host
    that serves is touched, `last` wait for all others.
    """

    down: frozenset[str] = frozenset()
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()


NOTHING_KNOWN = Standing()


def batches(
    phase: PhaseName, changes: Mapping[str, Sequence[Change]], *, live: bool, workers: Collection[str] = (),
    limit: int = 1, standing: Standing = NOTHING_KNOWN, canary: bool = False,
) -> list[tuple[str, ...]]:
    """Return the hosts of a phase in batches, each gated before the next.

    A first start takes nothing away, so all hosts start together (etcd's first quorum even needs that). On a live
    cluster hosts where a running unit is restarted or reloaded go after all others: one at a time, then those that are
    nothing but `workers`, `limit` at a time; with `canary` the first of those alone.
    """
    hosts = tuple(changes)
    if not hosts:
        return []
    if not live or phase not in INTERRUPTING:
        return [hosts]
    disturbed = [h for h in hosts if interrupts(changes[h]) and h not in standing.down]
    calm = tuple(h for h in hosts if h not in disturbed)
    rank = {h: 1 for h in disturbed} | dict.fromkeys(standing.last, 2) | dict.fromkeys(standing.first, 0)
    alone = sorted((h for h in disturbed if h not in workers), key=lambda h: rank[h])
    many = [h for h in disturbed if h in workers]
    first = 1 if canary and len(many) > 1 else 0
    return [*([calm] if calm else []), *((h,) for h in alone), *((h,) for h in many[:first]),
            *(tuple(many[i:i + limit]) for i in range(first, len(many), limit))]


def interrupts(changes: Sequence[Change]) -> bool:
    """Say whether one host's changes take away something that serves now.

    A unit that is still activating (it may exit again and again) serves nobody: such a host is repaired first.
    """
    return any(c.action in TAKES_AWAY and UnitState.of(c.expect).active != "activating" for c in changes)
