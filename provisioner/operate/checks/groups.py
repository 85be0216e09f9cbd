"""Which hosts see each other, from what was tried between pairs: values in, values out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations

from provisioner.model.reach import ETCD_PEER, Tried

Pair = frozenset[str]


def apart(tried: Sequence[Tried], hosts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the largest group of hosts that see each other, and the hosts that are outside of it.

    Two hosts see each other where something passes each way that was tried. Who was not looked at is in neither.
    """
    known = {name for t in tried if t.ok is not None for name in (t.need.source, t.need.target)}
    links = _links(tried)
    left = [name for name in hosts if name in known]
    found: list[list[str]] = []
    while left:
        group, new = {left[0]}, [left[0]]
        while new:
            one = new.pop()
            near = {other for other in left if other not in group and frozenset((one, other)) in links}
            group |= near
            new += near
        found.append([name for name in left if name in group])
        left = [name for name in left if name not in group]
    largest = max(found, key=len, default=[])       # of equal ones that of the host that stands first
    return tuple(largest), tuple(n for n in hosts if n in known and n not in set(largest))


def _links(tried: Iterable[Tried]) -> set[Pair]:
    ways: dict[tuple[str, str], bool] = {}
    for t in tried:
        if t.ok is not None:
            way = t.need.source, t.need.target
            ways[way] = ways.get(way, False) or t.ok
    return {frozenset(way) for way, ok in ways.items() if ok and ways.get((way[1], way[0]), True)}


def members_together(tried: Iterable[Tried], members: Sequence[str]) -> tuple[str, ...]:
    """Return the largest set of etcd members of which each reaches each; who was not looked at gets the benefit of it.
    """
    cut = {frozenset((t.need.source, t.need.target)) for t in tried if t.need.why == ETCD_PEER and t.ok is False}
    for size in range(len(members), 1, -1):
        for some in combinations(members, size):
            if not any(frozenset(pair) in cut for pair in combinations(some, 2)):
                return some
    return tuple(members[:1])


def by_culprit(pairs: Collection[Pair], order: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return unhealthy pairs by the host that most of them share: that one is named, with the others."""
    left, found = set(pairs), []
    while left:
        count = {name: sum(name in pair for pair in left) for name in order}
        worst = max(order, key=lambda name: count[name])
        own = {pair for pair in left if worst in pair}
        found.append((worst, tuple(n for n in order if n != worst and frozenset((worst, n)) in own)))
        left -= own
    return found
