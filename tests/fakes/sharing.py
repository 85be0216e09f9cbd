"""What a host in memory does with the orders of a spreading: in earnest with its states, without a byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from provisioner.model.desired import Artifact
from provisioner.model.sharing import End, Fetch, Get, Peer, Take
from provisioner.transport.sharing import Talk


@dataclass
class Peers:
    """Between hosts in memory: who serves what; a test says who serves nobody, or fails whom."""

    closed: dict[str, str] = field(default_factory=dict)        # host -> why it does not listen
    fails: dict[tuple[str, str], str] = field(default_factory=dict)     # (who fetches, from whom) -> what comes of it
    has: dict[str, set[str]] = field(default_factory=dict)      # digests by host, while it serves them
    mirrors: dict[str, str] = field(default_factory=dict)       # host -> why the mirror gives it nothing
    fetched: list[tuple[str, str, str]] = field(default_factory=list)   # (who, from whom, what)

    def talk(self, host: str, talk: Talk, take: Callable[[Artifact], None]) -> int:
        """Do what is said until no more is said; `take` makes an artifact the host's own. Return how many it got."""
        self.has[host] = set()
        port = len(self.has)
        closed = self.closed.get(host, "" if talk.identity is None else None)
        talk.told({"port": port} if closed is None else {"closed": closed})
        got = 0
        while not isinstance(order := talk.next(), End):
            if not isinstance(order, Take | Fetch | Get):
                talk.wait(0.05)
                talk.progress(0)
                continue
            why = self._why_not(host, order.peer, order.item) if isinstance(order, Fetch) else ""
            if isinstance(order, Get):
                why = self.mirrors.get(host, "")
            if isinstance(order, Take):
                talk.progress(order.item.size)
            number = talk.items.index(order.item)
            if not why:
                take(order.item)
                self.has[host].add(order.item.sha256)
                got += 1
            talk.told({"failed": number, "why": why} if why else {"stored": number})
        self.has[host] = set()
        return got

    def _why_not(self, host: str, peer: Peer, item: Artifact) -> str:
        why = self.fails.get((host, peer.name), "")
        if not why and item.sha256 not in self.has.get(peer.name, ()):
            why = "it has none"
        if not why:
            self.fetched.append((host, peer.name, item.name))
        return why
