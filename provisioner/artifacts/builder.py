"""From a catalogue entry to checked files in the cache; what is there already is not built again.

Two components are built at a time: while one fetches its modules or links, the other compiles.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.artifacts import debian, go, oci
from provisioner.artifacts.cache import Cache, Stored
from provisioner.artifacts.catalogue import ARCHES, Catalogue, Component, Image, digest_of, fill, load_catalogue
from provisioner.artifacts.elf import check_elf
from provisioner.artifacts.toolchain import Toolchain
from provisioner.errors import KubewrightError
from provisioner.model.artifact import LockedArtifact
from provisioner.model.events import Emit, Event

PHASE = "artifacts"
_SAY_EVERY = 5.0
_AT_ONCE = 2

Wanted = tuple[str, str, str]                       # component, version, architecture
Delivered = tuple[LockedArtifact, ...]


@dataclass
class Builder:
    """Makes components present in the cache and tells what it does as events."""

    emit: Emit
    catalogue: Catalogue = field(default_factory=load_catalogue)
    cache: Cache = field(default_factory=Cache)
    _said: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def __post_init__(self) -> None:
        self._toolchain = Toolchain(self.catalogue, self.cache)

    def deliver_all(self, wanted: Iterable[Wanted], check: Callable[[Wanted, Delivered], None] = lambda w, d: None,
                    ) -> dict[Wanted, Delivered]:
        """Deliver each, two at a time; `check` looks at what came. On the first fault the other build is ended."""
        order = {name: at for at, name in enumerate(self.catalogue.components)}      # the longest stands first in it
        asked = sorted(dict.fromkeys(wanted), key=lambda w: order.get(w[0], 0))
        for name, version, _ in asked:
            self.catalogue.find(name, version)

        faults: list[BaseException] = []

        def one(what: Wanted) -> Delivered:
            try:
                self._go_on(what[0])
                came = self.deliver(*what)
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
        """Compile what all Go builds have in common where more than one is to come."""
        for arch in ARCHES:
            found = [(self.catalogue.find(name, version), version) for name, version, its in wanted if its == arch]
            missing = [component for component, version in found if component.go
                       and not self.cache.recall(go.build_key(component, version, arch, self._toolchain.name))]
            if len(missing) > 1:
                with self.cache.locked(f"standard-library.{arch}", self._waiting(missing[0])) as scratch:
                    go.build_standard_library(self._toolchain, arch, scratch, self._progress(missing[0].name))

    def deliver(self, name: str, version: str, arch: str) -> Delivered:
        """Return the files of a component that hosts get, each in the cache and checked; builds what is missing."""
        component = self.catalogue.find(name, version)
        with self._told(component, version, arch):
            toolchain, binaries = self._binaries(component, version, arch)
            if component.image is None:
                return tuple(
                    LockedArtifact(name=n, component=component.name, version=version, arch=arch, kind="binary",
                                   source=component.source, sha256=s.sha256, size=s.size, toolchain=toolchain)
                    for n, s in binaries.items())
            reference = fill(component.image.reference, version)
            stored = self._image(component, component.image, reference, arch, binaries)
            return (LockedArtifact(name=component.image.archive, component=component.name, version=version, arch=arch,
                                   kind="image", source="oci", sha256=stored.sha256, size=stored.size,
                                   image=reference, toolchain=toolchain),)

    def _binaries(self, component: Component, version: str, arch: str) -> tuple[str, dict[str, Stored]]:
        """Return what made the binaries, and the binaries."""
        package = component.debian
        if package is not None:
            origin = f"{package.package} {debian.package_version(package)}"
            key = digest_of(package.model_dump_json().encode(), origin.encode(), arch.encode())
            return origin, self._made(component, version, arch, key,
                                      lambda scratch: debian.take(package, arch, scratch))
        toolchain = self._toolchain
        key = go.build_key(component, version, arch, toolchain.name)
        return toolchain.name, self._made(
            component, version, arch, key,
            lambda scratch: go.build(component, version, arch, toolchain, scratch, self._progress(component.name)))

    def _made(self, component: Component, version: str, arch: str, key: str,
              make: Callable[[Path], dict[str, Path]]) -> dict[str, Stored]:
        with self.cache.locked(key, self._waiting(component)) as scratch:
            known = self.cache.recall(key)
            if known:
                return known
            made = make(scratch)
            files = {n: self.cache.put(path, lambda copy: check_elf(copy, arch)) for n, path in made.items()}
            self.cache.remember(key, files, {"component": component.name, "version": version, "arch": arch})
            return files

    def _image(self, component: Component, image: Image, reference: str, arch: str,
               binaries: Mapping[str, Stored]) -> Stored:
        parts = [image.model_dump(mode="json"), reference, arch, oci.PACKER,
                 {n: s.sha256 for n, s in binaries.items()}]
        key = digest_of(json.dumps(parts, sort_keys=True).encode())
        with self.cache.locked(key, self._waiting(component)) as scratch:
            known = self.cache.recall(key)
            if not known:
                archive = scratch / image.archive
                paths = {n: self.cache.path(s.sha256) for n, s in binaries.items()}
                oci.pack(image, reference, arch, paths, archive)
                known = {image.archive: self.cache.put(archive, lambda copy: None)}
                self.cache.remember(key, known, {"image": reference, "arch": arch})
            return known[image.archive]

    @contextmanager
    def _told(self, component: Component, version: str, arch: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.emit(Event("host-done", time.time(), phase=PHASE, host=component.name, status="ok",
                        message=f"{version} {arch}: {', '.join(component.delivered)}",
                        seconds=round(time.monotonic() - start, 1),
                        data={"component": component.name, "version": version, "arch": arch}))

    def _waiting(self, component: Component) -> Callable[[float], None]:
        tell = self._progress(component.name)
        return lambda waited: tell(f"{component.name}: another process is building it, waited {waited:.0f} s")

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
