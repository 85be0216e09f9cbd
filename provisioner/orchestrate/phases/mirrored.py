"""Let hosts fetch for themselves from the inventory's mirror; what it does not give is told, and comes from here."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.errors import KubewrightError, LockHeld
from provisioner.model.desired import Artifact
from provisioner.model.sharing import End, Get, Mirror, Order, Wait
from provisioner.orchestrate.phases.spreading import News
from provisioner.transport.hosts import Hosts, OneHost
from provisioner.transport.sharing import Talk

GETS = 3                # that a host has under way
FAULTS = 2              # files that the mirror did not give a host before it asks for no more
RATE = 250_000          # bytes a second: the hosts give a file up before it is as slow as this
SLACK = 60.0            # seconds


class One:
    """What a host is still to ask the mirror for, and what it has not got."""

    def __init__(self, host: str, items: Sequence[Artifact], url: str, news: News) -> None:
        self._host, self._url, self._news = host, url, news
        self._items = list(items)
        self._open = sorted(self._items, key=lambda item: (item.size, item.path))
        self._lacks = {item.path: item for item in items}
        self._coming = self._failed = 0
        self._stirred = threading.Event()
        self._lock = threading.Lock()

    def next(self) -> Order:
        """Say what the host is to do now: the largest first."""
        with self._lock:
            self._stirred.clear()
            if self._open and self._coming < GETS and self._failed < FAULTS:
                self._coming += 1
                return Get(self._open.pop())
            return Wait() if self._coming else End()

    def wait(self, seconds: float) -> None:
        """Return when something has come, or nothing will."""
        self._stirred.wait(seconds)

    def told(self, line: Mapping[str, Any]) -> None:
        """Take what the host tells of one file; its last line, with all that it stored, is no news."""
        number = line.get("stored", line.get("failed"))
        if not isinstance(number, int):
            return
        item, failed = self._items[number], "failed" in line
        with self._lock:
            self._coming -= 1
            self._failed += failed
            if not failed:
                del self._lacks[item.path]
        if failed:
            self._news.odd(self._host, f"{self._host}: fetching {item.name} {item.version} from {self._url}: "
                                       f"{line.get('why')}; what the mirror does not give it comes from here")
        else:
            self._news.mirrored(self._host, item)
        self._stirred.set()

    @property
    def lacks(self) -> list[Artifact]:
        """Return what it has not got, in the order in which it was to."""
        with self._lock:
            return list(self._lacks.values())


def from_mirror(hosts: Hosts, wanted: Mapping[str, Sequence[Artifact]], mirror: Mirror, news: News, *,
                epoch: int | None) -> tuple[dict[str, list[Artifact]], dict[str, KubewrightError]]:
    """Let each host fetch what it lacks; return what each has not got, and the faults of hosts that talk no more.

    LockHeld ends the run.
    """
    ones = {host: One(host, items, mirror.url, news) for host, items in wanted.items()}
    seconds = SLACK + max(sum(item.size for item in items) for items in wanted.values()) / RATE

    def one_host(host: OneHost) -> None:
        of = ones[host.name]
        talk = Talk("", None, dict.fromkeys(wanted[host.name]), of.next, of.wait, of.told, seconds, news.sent,
                    mirror=mirror)
        host.share(talk, epoch=epoch)

    outcomes = hosts.together(one_host, wanted)
    faults = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, KubewrightError)}
    for fault in faults.values():
        if isinstance(fault, LockHeld):
            raise fault
    return {name: one.lacks for name, one in ones.items() if one.lacks}, faults
