"""Who may have the cluster's lock, decided from what the control planes say; asks no host and no clock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

TTL = 60.0          # seconds without a renewal, by a host's own boot clock, after which its record binds nobody
RENEW = 10.0        # seconds between two renewals: five may fail
Groups = Sequence[Collection[str]]
"""The control planes, once for each membership that counts: a majority is one of every group."""
Claim = tuple[str, int]
"""A run and its epoch: what a record is held by."""


@dataclass(frozen=True)
class Record:
    """The lock's record on one host, as the host tells it; version 0 where there never was one.

    `age` is in seconds since the last renewal, `since` in seconds since 1970 by the owner's clock, `busy` the id of a
    step that runs there now, `fence` the epoch that is installed there.
    """

    version: int = 0
    epoch: int = 0
    held: bool = False
    run: str = ""
    owner: str = ""
    machine: str = ""
    process: Mapping[str, Any] = field(default_factory=dict)
    since: float = 0.0
    age: float = 0.0
    busy: str = ""
    fence: int = 0

    @classmethod
    def of_answer(cls, answer: Mapping[str, Any]) -> Record:
        """Make a Record of the applier's answer to `lock`."""
        known = {f.name for f in fields(cls)}
        said = {k: v for k, v in answer["record"].items() if k in known}
        return cls(**said | {"busy": answer["busy"], "fence": answer["epoch"]})

    @property
    def claim(self) -> Claim:
        return self.run, self.epoch

    @property
    def is_fresh(self) -> bool:
        """Say whether the record still binds others: renewed within the TTL, or with a step still at work there."""
        return self.held and (self.age < TTL or bool(self.busy))


@dataclass(frozen=True)
class Decision:
    """Whether the lock may be taken: by whom it is held if not, else the epoch to take it with, and from whom.

    `majority` is False when too few hosts answered to know.
    """

    majority: bool
    holder: Record | None = None
    epoch: int = 0
    left: tuple[Record, ...] = ()


def has_majority(hosts: Iterable[str], groups: Groups) -> bool:
    """Say whether `hosts` are more than half of every group: any two such sets share a host."""
    there = set(hosts)
    return all(2 * len(there & set(group)) > len(set(group)) for group in groups)


def claims(seen: Mapping[str, Record]) -> dict[Claim, list[str]]:
    """Return who holds records, and where; a run that gave one back has ended, so what is left of it binds nobody."""
    over = {record.claim for record in seen.values() if record.run and not record.held}
    found: dict[Claim, list[str]] = {}
    for host, record in seen.items():
        if record.held and record.claim not in over:
            found.setdefault(record.claim, []).append(host)
    return found


def decide(seen: Mapping[str, Record], groups: Groups, is_dead: Callable[[Mapping[str, Any]], bool]) -> Decision:
    """Decide from the records of the hosts that answered.

    Whoever has a fresh record anywhere holds the lock, or is about to take it: it is refused rather than raced for. A
    claim is over at once when its process is dead, and when it was not renewed for a TTL on a majority: its owner
    knows by then that it lost it, whatever a minority still says.
    """
    if not has_majority(seen, groups):
        return Decision(majority=False)
    left = []
    for hosts in claims(seen).values():
        fresh = [h for h in hosts if seen[h].is_fresh]
        expired = [h for h in hosts if not seen[h].is_fresh]
        newest = min((seen[h] for h in hosts), key=lambda record: record.age)
        if fresh and not is_dead(newest.process) and not has_majority(expired, groups):
            return Decision(majority=True, holder=newest)
        left.append(newest)
    return Decision(majority=True, epoch=1 + max(max(r.epoch, r.fence) for r in seen.values()), left=tuple(left))
