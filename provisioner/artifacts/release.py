"""The source `release`: what upstream publishes, downloaded, checked against its published digest, and taken apart.

Not one byte is believed before the digest of the file that was published agrees; what is inside an archive or an image
is as good as that. Needs neither Go nor a container engine.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from provisioner.artifacts import oci, registry
from provisioner.artifacts.cache import Stored, sha256_of
from provisioner.artifacts.catalogue import Component, digest_of
from provisioner.artifacts.download import PATIENCE, Patience, Published, download
from provisioner.artifacts.elf import check_elf
from provisioner.artifacts.published import Origin, Publications
from provisioner.artifacts.sources import RELEASE, Bench, Delivered
from provisioner.errors import PreflightRefused, RefusedForSafety, of_full_disk
from provisioner.model.artifact import LockedArtifact

_RECIPE = 1                       # part of the key: raise it when what is made of the same published file changes


@dataclass(frozen=True)
class Release:
    """Downloads by the digests of published.yaml."""

    published: Publications
    patience: Patience = PATIENCE

    def knows(self, component: Component, version: str, arch: str) -> None:
        """Refuse a version without a published digest."""
        list(self.published.origins(component.name, version, arch))

    def deliver(self, component: Component, version: str, arch: str, bench: Bench) -> Delivered:
        """Download what the cache lacks; the lock says of each file what was published and where it came from."""
        came: list[LockedArtifact] = []
        for origin in self.published.origins(component.name, version, arch):
            is_image = bool(origin.image) and not origin.members
            came += [_locked(component.name, version, arch, name, stored, origin, is_image)
                     for name, stored in self._files(origin, arch, bench, is_image).items()]
        return tuple(came)

    def _files(self, origin: Origin, arch: str, bench: Bench, is_image: bool) -> dict[str, Stored]:
        """Return what is wanted of one published thing, from the cache or brought now."""
        key = digest_of(json.dumps([_RECIPE, origin.place, origin.sha256, origin.members, arch]).encode())

        def check(copy: Path) -> None:
            if not is_image:
                check_elf(copy, arch)

        return bench.made(key, {"published": origin.place, "arch": arch},
                          lambda scratch: self._make(origin, arch, scratch, bench, key), check)

    def _make(self, origin: Origin, arch: str, scratch: Path, bench: Bench, key: str) -> dict[str, Path]:
        """Bring one published thing and take out what is wanted of it."""
        parts: list[Path] = []

        def get(what: Published) -> Path:
            partial = bench.cache.partial(key, what.sha256)     # is there after a kill, to be gone on with
            if not (partial.exists() and sha256_of(partial) == what.sha256):
                download(what, partial, bench.progress, patience=self.patience)
            parts.append(partial)
            return partial

        if origin.image:
            made = self._image(origin, arch, scratch, registry.pull(origin.image, origin.sha256, arch, get))
        else:
            file = get(Published(origin.url, origin.sha256))
            made = take_out([file], origin.members, scratch, origin.place) if origin.members else {
                origin.name: Path(shutil.copyfile(file, scratch / origin.name))}
        for part in parts:
            part.unlink(missing_ok=True)
        return made

    def _image(self, origin: Origin, arch: str, scratch: Path, pulled: registry.Pulled) -> dict[str, Path]:
        if origin.members:
            return take_out([layer.path for layer in pulled.layers], origin.members, scratch, origin.place)
        archive = scratch / origin.name
        oci.archive(pulled, origin.image, arch, archive)
        return {origin.name: archive}


def take_out(archives: list[Path], members: dict[str, str], scratch: Path, place: str) -> dict[str, Path]:
    """Take named files out of archives, what stands in a later one wins; links and all else are no files."""
    wanted = {member.removeprefix("./"): name for name, member in members.items()}
    taken: dict[str, Path] = {}
    for archive in archives:
        try:
            with tarfile.open(archive) as packed:
                for member in packed:
                    name = wanted.get(member.name.removeprefix("./"))
                    source = packed.extractfile(member) if name is not None and member.isreg() else None
                    if name is not None and source is not None:
                        taken[name] = scratch / name
                        with taken[name].open("wb") as file:
                            shutil.copyfileobj(source, file, 1 << 20)
        except (tarfile.TarError, EOFError, OSError) as fault:
            raise of_full_disk(fault, PreflightRefused) or _refused(
                place, f"is no archive that can be read: {fault}") from None
    missing = [member for member, name in wanted.items() if name not in taken]
    if missing:
        raise _refused(place, f"has no file {', '.join(missing)}")
    return {name: taken[name] for name in members}


def _refused(place: str, saw: str) -> RefusedForSafety:
    return RefusedForSafety(f"this machine: open {place}: it {saw}", code="download-strange",
                            details=["its digest is the published one: the catalogue of what is in it is wrong"])


def _locked(component: str, version: str, arch: str, name: str, stored: Stored, origin: Origin,
            is_image: bool) -> LockedArtifact:
    return LockedArtifact(name=name, component=component, version=version, arch=arch,
                          kind="image" if is_image else "binary", source=RELEASE, sha256=stored.sha256,
                          size=stored.size, image=origin.image if is_image else "", origin=origin.place,
                          published=f"sha256:{origin.sha256}")
