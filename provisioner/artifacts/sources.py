"""Where a component's files come from: one class a source, found by the `source` of a lock's entry.

    go, debian   made on this machine from pinned modules, or taken from an installed package; images are packed here
    release      what upstream publishes, by its published digest (release.py)

A bundle (bundle.py) is none of them: it fills the cache, and then nobody is asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from provisioner.artifacts import debian, go, oci
from provisioner.artifacts.cache import Cache, Stored
from provisioner.artifacts.catalogue import ARCHES, Component, DebianSource, Image, digest_of, fill
from provisioner.artifacts.elf import check_elf
from provisioner.artifacts.toolchain import Toolchain
from provisioner.model.artifact import LockedArtifact

RELEASE = "release"
Delivered = tuple[LockedArtifact, ...]


@dataclass(frozen=True)
class Bench:
    """Where one component is made: the cache, who hears how far it is, and who hears of another at work on it."""

    cache: Cache
    progress: Callable[[str], None]
    waiting: Callable[[float], None]

    def made(self, key: str, about: Mapping[str, str], make: Callable[[Path], Mapping[str, Path]],
             check: Callable[[Path], None]) -> dict[str, Stored]:
        """Return what has this key: from the cache, else made now in a directory of its own and checked."""
        with self.cache.locked(key, self.waiting) as scratch:
            known = self.cache.recall(key)
            if known:
                return known
            files = {name: self.cache.put(path, check) for name, path in make(scratch).items()}
            self.cache.remember(key, files, about)
            return files


class Source(Protocol):
    """One way to come by files; refuses by name what it has not."""

    def knows(self, component: Component, version: str, arch: str) -> None:
        """Refuse a version that this source cannot give, before anything is begun."""

    def deliver(self, component: Component, version: str, arch: str, bench: Bench) -> Delivered:
        """Return the files that hosts get, each in the cache and checked."""


class Maker(Protocol):
    """What makes a component's binaries on this machine."""

    def origin(self, component: Component) -> str:
        """Return what made them, as the lock tells it."""

    def key(self, component: Component, version: str, arch: str) -> str:
        """Return the digest of everything that decides their bytes."""

    def make(self, component: Component, version: str, arch: str, work: Path,
             progress: Callable[[str], None]) -> dict[str, Path]:
        """Make them below `work`."""


@dataclass(frozen=True)
class Go:
    """Built from Go modules."""

    toolchain: Toolchain

    def origin(self, component: Component) -> str:
        """Return the toolchain."""
        return self.toolchain.name

    def key(self, component: Component, version: str, arch: str) -> str:
        """Return the digest of modules, recipe and toolchain."""
        return go.build_key(component, version, arch, self.toolchain.name)

    def make(self, component: Component, version: str, arch: str, work: Path,
             progress: Callable[[str], None]) -> dict[str, Path]:
        """Build them."""
        return go.build(component, version, arch, self.toolchain, work, progress)

    def prepare(self, wanted: list[tuple[Component, str, str]], cache: Cache, bench: Callable[[str], Bench]) -> None:
        """Compile what all builds have in common where more than one is to come."""
        for arch in ARCHES:
            missing = [component for component, version, its in wanted if its == arch and component.go
                       and not cache.recall(self.key(component, version, arch))]
            if len(missing) > 1:
                at = bench(missing[0].name)
                with cache.locked(f"standard-library.{arch}", at.waiting) as scratch:
                    go.build_standard_library(self.toolchain, arch, scratch, at.progress)


class Debian:
    """Taken from a Debian package that this machine has."""

    def origin(self, component: Component) -> str:
        """Return the package with its version."""
        package = _package(component)
        return f"{package.package} {debian.package_version(package)}"

    def key(self, component: Component, version: str, arch: str) -> str:
        """Return the digest of the package's name, version and files."""
        return digest_of(_package(component).model_dump_json().encode(), self.origin(component).encode(), arch.encode())

    def make(self, component: Component, version: str, arch: str, work: Path,
             progress: Callable[[str], None]) -> dict[str, Path]:
        """Copy them."""
        return debian.take(_package(component), arch, work)


def _package(component: Component) -> DebianSource:
    if component.debian is None:
        raise KeyError(component.name)
    return component.debian


@dataclass(frozen=True)
class Made:
    """A source that makes binaries here and packs the images from them."""

    name: str
    maker: Maker

    def knows(self, component: Component, version: str, arch: str) -> None:
        """Accept what the catalogue has: it was looked up there."""

    def deliver(self, component: Component, version: str, arch: str, bench: Bench) -> Delivered:
        """Make the binaries that the cache lacks, and pack the image where there is one."""
        origin = self.maker.origin(component)
        binaries = bench.made(
            self.maker.key(component, version, arch), {"component": component.name, "version": version, "arch": arch},
            lambda scratch: self.maker.make(component, version, arch, scratch, bench.progress),
            lambda copy: check_elf(copy, arch))
        if component.image is None:
            return tuple(
                LockedArtifact(name=n, component=component.name, version=version, arch=arch, kind="binary",
                               source=self.name, sha256=s.sha256, size=s.size, toolchain=origin)
                for n, s in binaries.items())
        reference = fill(component.image.reference, version)
        stored = _packed(component.image, reference, arch, binaries, bench)
        return (LockedArtifact(name=component.image.archive, component=component.name, version=version, arch=arch,
                               kind="image", source="oci", sha256=stored.sha256, size=stored.size,
                               image=reference, toolchain=origin),)


def _packed(image: Image, reference: str, arch: str, binaries: Mapping[str, Stored], bench: Bench) -> Stored:
    parts = [image.model_dump(mode="json"), reference, arch, oci.PACKER, oci.ZSTD,
             {n: s.sha256 for n, s in binaries.items()}]

    def pack(scratch: Path) -> dict[str, Path]:
        archive = scratch / image.archive
        oci.pack(image, reference, arch, {n: bench.cache.path(s.sha256) for n, s in binaries.items()}, archive)
        return {image.archive: archive}

    return bench.made(digest_of(json.dumps(parts, sort_keys=True).encode()), {"image": reference, "arch": arch}, pack,
                      lambda copy: None)[image.archive]
