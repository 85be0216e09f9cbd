"""Who gives which artifact to whom: from here each goes out once, and on from host to host.

Where a peer does not give it, it comes from here as if there were no peers; so nothing depends on them but speed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from provisioner.model.desired import Artifact
from provisioner.model.sharing import End, Fetch, Peer, Spread, Take, Wait

SMALL = 1 << 20     # bytes: of less, a connection costs more than it saves
FIRST = 4           # first copies on their way at a time: the sooner one is whole, the sooner it goes on
FETCHES = 2         # that a host has under way
UPLOADS = 4         # that a host has under way
FAULTS = 2          # peers that failed a host before it asks no more of them, or hosts that a peer failed


def worth(wanted: Mapping[str, Sequence[Artifact]]) -> bool:
    """Say whether any host could get something from another."""
    lack = Counter(chain.from_iterable({i.sha256 for i in items if i.size >= SMALL} for items in wanted.values()))
    return any(count > 1 for count in lack.values())


@dataclass
class _One:
    """A host: what it lacks, what is on its way to it and from whom (None: from here), what it gives and who failed."""

    lacks: dict[str, Artifact]
    coming: dict[str, str | None] = field(default_factory=dict)
    said: bool = False              # whether it listens, or that it does not
    peer: Peer | None = None
    uploads: int = 0
    failed_by: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    lied: bool = False

    @property
    def gives(self) -> bool:
        return (self.peer is not None or not self.said) and not self.lied and len(self.failed) < FAULTS

    @property
    def idle(self) -> bool:
        return len(self.coming) < min(FETCHES, len(self.lacks))


class Spreading:
    """What is where and on its way; told what happens, it says what each host is to do next."""

    def __init__(self, wanted: Mapping[str, Sequence[Artifact]]) -> None:
        self._hosts = {host: _One({i.path: i for i in items}) for host, items in wanted.items()}
        self._has: dict[str, dict[str, None]] = {}          # digest -> hosts, as they came to it
        self._gets: dict[str, Counter[str]] = {}            # digest -> hosts to which it is on its way
        self._lack = Counter(i.sha256 for items in wanted.values() for i in items)
        self._firsts: set[tuple[str, str]] = set()

    def lacking(self, host: str) -> list[Artifact]:
        """Return what a host does not have yet."""
        return list(self._hosts[host].lacks.values()) if host in self._hosts else []

    def listens(self, host: str, address: str, port: int | None) -> None:
        """A host serves what it has from now on; without a port it never does."""
        self._hosts[host].said = True
        self._hosts[host].peer = Peer(host, address, port) if port else None

    def stored(self, host: str, item: Artifact) -> str | None:
        """A host has an artifact now; return who gave it, None where it came from here."""
        giver = self._arrived(host, item)
        self._drop(host, item)
        self._has.setdefault(item.sha256, {})[host] = None
        return giver

    def failed(self, host: str, item: Artifact, *, lied: bool = False) -> str | None:
        """A host did not get what it was to get; return which peer failed it, None where that was here."""
        giver = self._arrived(host, item)
        if giver is None:
            return None
        self._hosts[host].failed_by.add(giver)
        if giver in self._hosts:
            self._hosts[giver].failed.add(host)
            self._hosts[giver].lied |= lied
        return giver

    def gone(self, host: str) -> list[Artifact]:
        """A host is no part of this any more; return what it lacks."""
        rest = self.lacking(host)
        if host in self._hosts:
            for item in [self._hosts[host].lacks[path] for path in self._hosts[host].coming]:
                self._arrived(host, item)
            for item in rest:
                self._drop(host, item)
            del self._hosts[host]
            for holders in self._has.values():
                holders.pop(host, None)
        return rest

    def stirred(self, host: str) -> list[str]:
        """Return who may have something to do after news of a host: itself, and some of those that wait."""
        if not any(self._lack.values()):
            return list(self._hosts)
        idle = (name for name, one in self._hosts.items() if one.idle and name != host)
        return [*((host,) if host in self._hosts else ()), *islice(idle, UPLOADS + 1)]

    def next(self, host: str) -> Spread:
        """Say what a host is to do now, beside what it does already."""
        if not any(self._lack.values()) or host not in self._hosts:
            return End()
        one = self._hosts[host]
        if not one.said:
            return Wait()
        open_ = sorted((i for path, i in one.lacks.items() if path not in one.coming), key=lambda i: (-i.size, i.path))
        order = self._fetch(host, one, open_) or self._take(host, one, open_)
        if order is None:
            return Wait()
        one.coming[order.item.path] = None
        self._gets.setdefault(order.item.sha256, Counter())[host] += 1
        if isinstance(order, Fetch):
            one.coming[order.item.path] = order.peer.name
            self._hosts[order.peer.name].uploads += 1
        elif self._spreads(order.item):
            self._firsts.add((host, order.item.path))
        return order

    def _arrived(self, host: str, item: Artifact) -> str | None:
        giver = self._hosts[host].coming.pop(item.path, None)
        self._gets[item.sha256][host] -= 1
        self._firsts.discard((host, item.path))
        if giver in self._hosts:
            self._hosts[giver].uploads -= 1
        return giver

    def _drop(self, host: str, item: Artifact) -> None:
        if self._hosts[host].lacks.pop(item.path, None) is not None:
            self._lack[item.sha256] -= 1

    def _fetch(self, host: str, one: _One, open_: Sequence[Artifact]) -> Fetch | None:
        """Return what to fetch: first what the fewest have, from whoever gives the least."""
        if sum(giver is not None for giver in one.coming.values()) >= FETCHES:
            return None
        for item in sorted(open_, key=lambda i: len(self._has.get(i.sha256, ()))):
            givers = [other for other in self._givers(host, item, self._has.get(item.sha256, ()))
                      if other.uploads < UPLOADS]
            peer = min(givers, key=lambda other: other.uploads).peer if givers else None
            if peer is not None:
                return Fetch(item, peer)
        return None

    def _take(self, host: str, one: _One, open_: Sequence[Artifact]) -> Take | None:
        """Return what is to be sent from here: what nobody else has or gets, or nobody else can give this host."""
        if None in one.coming.values():     # one after the other: there is one stream to a host
            return None
        for item in open_:
            gets = (name for name, count in self._gets.get(item.sha256, {}).items() if count > 0)
            if any(self._givers(host, item, chain(self._has.get(item.sha256, ()), gets))):
                continue
            if len(self._firsts) < FIRST or not self._spreads(item):
                return Take(item)
        return None

    def _givers(self, host: str, item: Artifact, among: Iterator[str] | Mapping[str, None] | tuple[()],
                ) -> Iterator[_One]:
        """Yield those of `among` that may give an artifact to a host."""
        one = self._hosts[host]
        if item.size >= SMALL and len(one.failed_by) < FAULTS:
            yield from (self._hosts[name] for name in among
                        if name != host and name not in one.failed_by and self._hosts[name].gives)

    def _spreads(self, item: Artifact) -> bool:
        """Say whether several lack it: then a copy that is sent from here is a first one."""
        return item.size >= SMALL and self._lack[item.sha256] > 1
