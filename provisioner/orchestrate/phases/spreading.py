"""Bring files to many hosts: each goes out from here once, and on from host to host, as decide/spreading.py says.

Where that does not work with a host, it gets what it lacks from here, as a single host does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from provisioner.decide.spreading import Spreading
from provisioner.errors import KubewrightError, LockHeld
from provisioner.model.desired import Artifact
from provisioner.model.sharing import Order
from provisioner.operate import run_identities
from provisioner.transport.hosts import Hosts, OneHost
from provisioner.transport.packing import Pace
from provisioner.transport.sharing import STORE_RATE, Talk

Wanted = Mapping[str, Mapping[Artifact, Path]]


class News:
    """Told what comes of it; one that does nothing."""

    def sent(self, count: int) -> None:
        """So many bytes went out from here; an OSError ends the stream."""

    def given(self, host: str, item: Artifact) -> None:
        """A host has an artifact from another host."""

    def mirrored(self, host: str, item: Artifact) -> None:
        """A host has an artifact from the mirror."""

    def complete(self, host: str) -> None:
        """A host has all that it is to have."""

    def odd(self, host: str, message: str) -> None:
        """A host got something from here that others were to give it."""


class Floor:
    """What all hosts are told and tell, one after the other."""

    def __init__(self, wanted: Wanted, addresses: Mapping[str, str], news: News) -> None:
        self._items = {host: list(files) for host, files in wanted.items()}
        self._spreading = Spreading(self._items)
        self._addresses, self._news = addresses, news
        self._lock = threading.Lock()
        self._stirred = {host: threading.Event() for host in wanted}
        self._rest: dict[str, list[Artifact]] = {}
        self._odd: set[tuple[str, str]] = set()

    def next(self, host: str) -> Order:
        """Say what a host is to do now."""
        with self._lock:
            self._stirred[host].clear()
            return self._spreading.next(host)

    def wait(self, host: str, seconds: float) -> None:
        """Return when there may be something for a host to do."""
        self._stirred[host].wait(seconds)

    def told(self, host: str, line: Mapping[str, Any]) -> None:
        """Take what a host tells; lines that say something else are its last ones."""
        with self._lock:
            tell = self._heard(host, line) if host not in self._rest else ()
            self._stir(host)
        for act in tell:
            act()

    def _heard(self, host: str, line: Mapping[str, Any]) -> tuple[Callable[[], None], ...]:
        """Take a line; return what is to be told of it."""
        if "port" in line or "closed" in line:
            self._spreading.listens(host, self._addresses[host], line.get("port"))
            why = line.get("closed")
            return (partial(self._news.odd, host, f"{host}: giving other hosts what it has: {why}"),) if why else ()
        number = line.get("stored", line.get("failed"))
        if not isinstance(number, int):
            return ()
        item = self._items[host][number]
        if "failed" in line:
            return self._failed(host, item, line)
        given = self._spreading.stored(host, item) is not None
        whole = not self._spreading.lacking(host)
        return (*((partial(self._news.given, host, item),) if given else ()),
                *((partial(self._news.complete, host),) if whole else ()))

    def _failed(self, host: str, item: Artifact, line: Mapping[str, Any]) -> tuple[Callable[[], None], ...]:
        giver = self._spreading.failed(host, item, lied=bool(line.get("lied")))
        if giver is None:       # our own bytes are not what they should be: told by a stream of its own
            self._rest[host] = self._spreading.gone(host)
            return ()
        if (host, giver) in self._odd:
            return ()
        self._odd.add((host, giver))
        return (partial(self._news.odd, host, f"{host}: fetching {item.name} from {giver}: {line.get('why')}; "
                                              "what a host does not get from others it gets from here"),)

    def leave(self, host: str) -> list[Artifact]:
        """Go on without a host, whose talk is over; return what it lacks."""
        with self._lock:
            if host not in self._rest:
                self._rest[host] = self._spreading.gone(host)
            self._stir(host)
            return self._rest[host]

    def _stir(self, host: str) -> None:
        for name in self._spreading.stirred(host):
            self._stirred[name].set()


def spread(hosts: Hosts, wanted: Wanted, addresses: Mapping[str, str], news: News, *, epoch: int | None,
           ) -> dict[str, KubewrightError | None]:
    """Bring every host what it is to have; a host's failure is its outcome, never another's.

    `addresses` are those that hosts reach one another at; for as long as this lasts each serves there what it has got.
    """
    floor = Floor(wanted, addresses, news)
    identities, pace = run_identities.make(wanted), Pace()
    each_once = {item.sha256: item.size for files in wanted.values() for item in files}
    seconds = sum(each_once.values()) / STORE_RATE      # the last talk is over when the slowest host has all

    def one_host(one: OneHost) -> None:
        name = one.name
        fault: KubewrightError | None = None
        talk = Talk(addresses[name], identities[name], wanted[name], partial(floor.next, name),
                    partial(floor.wait, name), partial(floor.told, name), seconds, news.sent, pace)
        try:
            one.share(talk, epoch=epoch)
        except LockHeld:
            raise
        except KubewrightError as e:
            fault = e
        finally:
            rest = floor.leave(name)
        _send_rest(hosts, name, {item: wanted[name][item] for item in rest}, fault, news, epoch)

    return hosts.together(one_host, wanted)


def _send_rest(hosts: Hosts, name: str, rest: Mapping[Artifact, Path], fault: KubewrightError | None, news: News,
               epoch: int | None) -> None:
    """Send what a host lacks when its talk is over, in a stream of its own."""
    if not rest:
        return
    if fault is not None:
        news.odd(name, f"{fault.message}; it gets the rest from here")
    hosts.on(name).store(list(rest.items()), news.sent, epoch=epoch)      # a lost connection is waited for
    news.complete(name)
