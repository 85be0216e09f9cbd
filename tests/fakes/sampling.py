"""Sampling without hosts: each series is tried once against the API in memory, then what a test adds is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from provisioner.errors import KubewrightError
from provisioner.model.availability import Attempt, Batch
from provisioner.transport.sampling import Compose, Series
from tests.fakes.api import MemoryApi


@dataclass
class Samples:
    """What the prober's hosts will see: `told` of the first host at the start, `later` when asked to `go_on`."""

    api: MemoryApi
    told: list[Attempt] = field(default_factory=list)
    blind: set[str] = field(default_factory=set)            # hosts that never answer
    series: dict[str, Sequence[Series]] = field(default_factory=dict)
    running: list[FakeSampling] = field(default_factory=list)

    def __call__(self, pool: object, hosts: Sequence[str], compose: Compose, take: Callable[[Batch], None],
                 ) -> FakeSampling:
        """Stand in the place of the class Sampling."""
        return FakeSampling(self, hosts, compose, take)

    def go_on(self, *attempts: Attempt) -> None:
        """Let the first host of what runs tell these attempts."""
        for one in self.running:
            one.take(Batch(one.hosts[0], 0, 0.0, attempts))


class FakeSampling:
    """What Sampling is to the prober."""

    def __init__(self, samples: Samples, hosts: Sequence[str], compose: Compose, take: Callable[[Batch], None]) -> None:
        self.samples, self.hosts, self.compose, self.take = samples, hosts, compose, take
        self.faults: dict[str, str] = {}
        self.not_seen = dict.fromkeys(hosts, 0.0)
        self.longest_unseen = dict.fromkeys(hosts, 0.0)
        self.seen: frozenset[str] = frozenset()

    def start(self, patience: float = 0.0) -> None:
        self.samples.running.append(self)
        for host in self.hosts:
            if host in self.samples.blind:
                self.faults[host], self.not_seen[host] = f"{host}: connecting: no route", 7.0
                continue
            try:
                series = self.samples.series[host] = self.compose(host)
            except KubewrightError as fault:
                self.faults[host] = fault.message
                continue
            self.take(Batch(host, 0, 0.1, tuple(self._try(one) for one in series)))
            self.seen |= {host}
        self.samples.go_on(*self.samples.told)

    def stop(self) -> None:
        self.samples.running.remove(self)

    def _try(self, one: Series) -> Attempt:
        if one.get("method") == "POST":
            body = json.loads(str(one["body"]).replace("{n}", str(one["first"])))
            path = urlsplit(str(one["url"])).path
            self.samples.api.answer("POST", path, body)
        return Attempt(str(one["name"]), 0.0, 0.01, number=one.get("first"))
