"""From a catalogue entry to checked files in the cache, by its source; what is there already is not made again.

Two components are made at a time: while one fetches its modules or links, the other compiles.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import Catalogue, Component, load_catalogue
from provisioner.artifacts.published import load_publications
from provisioner.artifacts.release import Release
from provisioner.artifacts.sources import RELEASE, Bench, Debian, Delivered, Go, Made, Source
from provisioner.artifacts.toolchain import Toolchain
from provisioner.errors import KubewrightError
from provisioner.model.events import Emit, Event

PHASE = "artifacts"
_SAY_EVERY = 5.0
_AT_ONCE = 2


class Wanted(NamedTuple):
    """What is to be had; without a `source` this machine makes it, as the catalogue says."""

    component: str
    version: str
    arch: str
    source: str = ""


@dataclass
class Builder:
    """Makes components present in the cache and tells what it does as events."""

    emit: Emit
    catalogue: Catalogue = field(default_factory=load_catalogue)
    cache: Cache = field(default_factory=Cache)
    release: Source = field(default_factory=lambda: Release(load_publications()))
    _said: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def __post_init__(self) -> None:
        self._go = Go(Toolchain(self.catalogue, self.cache))
        self._sources: Mapping[str, Source] = {"go": Made("go", self._go), "debian": Made("debian", Debian()),
                                               RELEASE: self.release}

    def deliver_all(self, wanted: Iterable[Wanted], check: Callable[[Wanted, Delivered], None] = lambda w, d: None,
                    ) -> dict[Wanted, Delivered]:
        """Deliver each, two at a time; `check` looks at what came. On the first fault the other build is ended."""
        order = {name: at for at, name in enumerate(self.catalogue.components)}      # the longest stands first in it
        asked = sorted(dict.fromkeys(wanted), key=lambda w: order.get(w[0], 0))
        for what in asked:
            self._source_of(what).knows(self._component(what), what.version, what.arch)

        faults: list[BaseException] = []

        def one(what: Wanted) -> Delivered:
            try:
                self._go_on(what.component)
                came = self.deliver(what)
                check(what, came)
            except BaseException as fault:
                faults.append(fault)
                self._stopped.set()
                raise
            return came

        self._prepare(asked)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="build") as pool:
            futures = {what: pool.submit(one, what) for what in asked}
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
                if faults:
                    raise faults[0]                 # the others are of builds that it ended
            except BaseException:
                self._stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            return {what: future.result() for what, future in futures.items()}

    def _prepare(self, wanted: Iterable[Wanted]) -> None:
        built = [(self._component(what), what.version, what.arch) for what in wanted
                 if self._source_of(what) is self._sources["go"]]
        self._go.prepare(built, self.cache, self._bench)

    def deliver(self, what: Wanted) -> Delivered:
        """Return the files of a component that hosts get, each in the cache and checked; brings what is missing."""
        component = self._component(what)
        with self._told(component, what.version, what.arch):
            return self._source_of(what).deliver(component, what.version, what.arch, self._bench(component.name))

    def _component(self, what: Wanted) -> Component:
        """Return its entry; whether a version is published the source says, not the catalogue."""
        return self.catalogue.find(what.component, "" if what.source == RELEASE else what.version)

    def _source_of(self, what: Wanted) -> Source:
        return self._sources[what.source or self._component(what).source]

    def _bench(self, component: str) -> Bench:
        tell = self._progress(component)
        return Bench(self.cache, tell,
                     lambda waited: tell(f"{component}: another process is at work on it, waited {waited:.0f} s"))

    @contextmanager
    def _told(self, component: Component, version: str, arch: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.emit(Event("host-done", time.time(), phase=PHASE, host=component.name, status="ok",
                        message=f"{version} {arch}: {', '.join(component.delivered)}",
                        seconds=round(time.monotonic() - start, 1),
                        data={"component": component.name, "version": version, "arch": arch}))

    def _progress(self, component: str) -> Callable[[str], None]:
        """Return what tells of a component, at most every few seconds, and ends its build where another's failed."""
        def tell(message: str) -> None:
            self._go_on(component)
            if time.monotonic() - self._said.get(component, 0.0) >= _SAY_EVERY:
                self._said[component] = time.monotonic()
                self.emit(Event("waiting", time.time(), phase=PHASE, message=message))
        return tell

    def _go_on(self, component: str) -> None:
        if self._stopped.is_set():
            raise KubewrightError(f"this machine: build {component}: ended with another build", code="artifact-build")
