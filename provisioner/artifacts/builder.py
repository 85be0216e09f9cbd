"""From a catalogue entry to checked files in the cache; what is there already is not built again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.artifacts import debian, go, oci
from provisioner.artifacts.cache import Cache, Stored
from provisioner.artifacts.catalogue import Catalogue, Component, Image, digest_of, fill, load_catalogue
from provisioner.artifacts.elf import check_elf
from provisioner.model.artifact import LockedArtifact
from provisioner.model.events import Emit, Event

PHASE = "artifacts"
_SAY_EVERY = 5.0


@dataclass
class Builder:
    """Makes components present in the cache and tells what it does as events."""

    emit: Emit
    catalogue: Catalogue = field(default_factory=load_catalogue)
    cache: Cache = field(default_factory=Cache)
    _said: float = field(default=0.0, init=False, repr=False)

    def deliver(self, name: str, version: str, arch: str) -> tuple[LockedArtifact, ...]:
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
        toolchain = self.catalogue.toolchain
        key = go.build_key(component, version, arch, toolchain)
        return toolchain, self._made(
            component, version, arch, key,
            lambda scratch: go.build(component, version, arch, toolchain, scratch, self._progress))

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
        return lambda waited: self._progress(
            f"{component.name}: another process is building it, waited {waited:.0f} s")

    def _progress(self, message: str) -> None:
        """Tell what is going on, at most every few seconds."""
        if time.monotonic() - self._said >= _SAY_EVERY:
            self._said = time.monotonic()
            self.emit(Event("waiting", time.time(), phase=PHASE, message=message))
