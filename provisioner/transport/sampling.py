"""Attempts made and timed by many hosts at once, handed over while they go on; a lost channel is opened again.

What cannot be seen (a host that does not answer, a channel that was lost) is counted as seconds, never as a failure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from provisioner.errors import KubewrightError
from provisioner.model.availability import Batch, batch_of
from provisioner.transport.hosts import Hosts

DURATION = 3600.0       # seconds of one channel; then the next begins, with credentials that are new
RETRY = 1.0             # seconds between two tries to reach a host
NUMBERS = 1_000_000     # each channel numbers its attempts from a multiple of this, so no number comes twice
LATE = 1.0              # seconds by which the last word of a channel may come late on a busy machine
ENDING = 10.0           # seconds in which attempts under way come to their end
Series = Mapping[str, Any]
Compose = Callable[[str], Sequence[Series]]
"""Called with a host's name before each channel: its series, with credentials that outlive the channel."""


class Sampling:
    """Samples on `hosts` from `start` to `stop`, each host in a thread of its own; `take` gets every batch.

    `take` is called by those threads, never by two at once. An attempt of a series named `x` is one of `compose`'s
    series of that name; see `sample` in docs/reference/applier-protocol.md for their form.
    """

    def __init__(self, all_hosts: Hosts, hosts: Sequence[str], compose: Compose, take: Callable[[Batch], None]) -> None:
        self._all, self._compose, self._take = all_hosts, compose, take
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._began = 0.0
        self._seen_until: dict[str, float] = {}
        self._opened: dict[str, tuple[int, float]] = {}     # each host's channel, and when it began at the latest
        self._missed = dict.fromkeys(hosts, 0.0)
        self._longest = dict.fromkeys(hosts, 0.0)       # of the times without a word that are over
        self._ended: set[str] = set()
        self._threads = [threading.Thread(target=self._watch, args=(h,), name=f"sample-{h}", daemon=True)
                         for h in hosts]
        self.faults: dict[str, str] = {}

    def start(self, patience: float = 0.0) -> None:
        """Begin, and wait at most `patience` seconds until every host has told something."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        while len(self._seen_until) < len(self._missed) and time.monotonic() - self._began < patience:
            self._stop.wait(0.05)

    def stop(self) -> None:
        """End: attempts under way come to their end and are handed over, where the host still answers."""
        self._stop.set()
        limit = time.monotonic() + ENDING
        for thread in self._threads:
            thread.join(max(0.0, limit - time.monotonic()))
        with self._lock:
            for host in self._missed.keys() - self._ended:
                self._end(host)

    @property
    def not_seen(self) -> dict[str, float]:
        """Return for each host the seconds of which nothing is known, up to its last word or the end."""
        with self._lock:
            return dict(self._missed)

    @property
    def longest_unseen(self) -> dict[str, float]:
        """Return for each host the longest time of which nothing is known, also one that goes on now."""
        with self._lock:
            return {h: max(over, 0.0 if h in self._ended else self._silent(h)) for h, over in self._longest.items()}

    def _silent(self, host: str) -> float:
        return time.monotonic() - self._seen_until.get(host, self._began)

    @property
    def seen(self) -> frozenset[str]:
        """Return the hosts that have told something."""
        return frozenset(self._seen_until)

    def __enter__(self) -> Sampling:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _watch(self, host: str) -> None:
        channel = 0
        while not self._stop.is_set():
            try:
                series = [_numbered(one, channel) for one in self._compose(host)]
                self._all.on(host).sample({"series": series}, partial(self._heard, host, channel), self._stop,
                                          duration=DURATION)
            except KubewrightError as fault:
                self.faults[host] = fault.message
                self._stop.wait(RETRY)
            channel += 1

    def _heard(self, host: str, channel: int, line: Mapping[str, Any]) -> None:
        batch = batch_of(host, channel, line)
        now = time.monotonic()
        with self._lock:
            if host in self._ended:
                return          # too late: the end has been counted already
            began, lost = now - batch.until, 0.0
            last, opened = self._opened.get(host, (channel, began))
            if channel == last:
                began = min(began, opened)
            else:
                lost = max(0.0, began - self._seen_until[host])
            self._opened[host] = (channel, began)
            self._missed[host] += lost + batch.blind
            self._longest[host] = max(self._longest[host], lost, batch.blind)
            self._seen_until[host] = began + batch.until        # a line that comes late tells of no more than this
            if batch.last and self._stop.is_set():
                self._end(host, LATE)
            self._take(batch)

    def _end(self, host: str, late: float = 0.0) -> None:
        """Count what was not seen up to now, where it is more than `late` seconds; nothing is counted after it."""
        silent = self._silent(host)
        if silent > late:
            self._missed[host] += silent
            self._longest[host] = max(self._longest[host], silent)
        self._ended.add(host)


def _numbered(one: Series, channel: int) -> Series:
    return {**one, "first": int(one["first"]) + channel * NUMBERS} if "first" in one else one
