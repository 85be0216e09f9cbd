"""A bundle: all bytes that an inventory and its lock need, in one file that an operator has signed.

    manifest.json         what is in it: artifacts of the lock, packages by system, and what an earlier bundle has
    manifest.json.sig     an operator's signature of that
    files/SHA256          the bytes, each named by its digest

It is a tar, or the same as a directory. Nothing in it says where anything goes: a file is read because the manifest
names its digest, and goes into the cache under that digest. What else is in it, or is no plain file, is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from provisioner.artifacts import signing
from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import Digest, digest_of
from provisioner.artifacts.tarball import add
from provisioner.errors import PreflightRefused, RefusedForSafety, UsageFault, of_full_disk
from provisioner.files import whole
from provisioner.model.artifact import ArtifactLock

MANIFEST, SIGNATURE, FILES = "manifest.json", "manifest.json.sig", "files"
_NAME = re.compile(r"files/([0-9a-f]{64})")
_AT_MOST = 16 << 20                 # of the manifest and of its signature; ours are some ten thousand bytes
_CHUNK = 1 << 20

Text = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.,:+~=_/@%-]{1,300}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Held(_Entry):
    """One file of the bundle: an artifact of the lock, or a system's packages."""

    name: Text
    sha256: Digest
    size: int = Field(gt=0)


class Packages(Held):
    """The OS packages for one system as an archive that a host unpacks: a repository of its own.

    `asked` are those that our components need, `versions` all that are in it, with what they depend on.
    """

    system: Text
    asked: tuple[Text, ...] = Field(strict=False)
    versions: dict[Text, Text]


class Manifest(_Entry):
    """What a bundle says of itself; `elsewhere` are the digests that the bundle it builds upon has."""

    format: Literal[1] = 1
    artifacts: tuple[Held, ...] = Field(strict=False)
    packages: tuple[Packages, ...] = Field(default=(), strict=False)
    elsewhere: tuple[Digest, ...] = Field(default=(), strict=False)

    @property
    def files(self) -> dict[str, Held]:
        """Return all that belongs to it by digest, here or elsewhere."""
        return {f.sha256: f for f in (*self.artifacts, *self.packages)}

    @property
    def here(self) -> dict[str, Held]:
        """Return what has to be in this very bundle."""
        return {digest: f for digest, f in self.files.items() if digest not in self.elsewhere}


@dataclass(frozen=True)
class Bundle:
    """A bundle whose signature was checked and whose every file was hashed."""

    path: Path
    manifest: Manifest

    def take(self, cache: Cache) -> None:
        """Put its files into the cache, each once more by its digest; what a killed one left is cleared."""
        key = f"bundle-{digest_of(self.manifest.model_dump_json().encode())}"
        with cache.locked(key, lambda waited: None) as scratch:
            def take(name: str, stream: IO[bytes]) -> None:
                found = _NAME.fullmatch(name)
                if found and cache.verified(found[1]) is None:
                    copy = scratch / found[1]
                    with copy.open("wb") as file:
                        shutil.copyfileobj(stream, file, _CHUNK)
                    cache.put(copy, lambda _: None, expect=found[1])
                    copy.unlink()

            _each(self.path, take)

    def missing(self, lock: ArtifactLock, cache: Cache, systems: Mapping[str, Sequence[str]]) -> list[str]:
        """Return what a cluster needs and neither the bundle nor the cache has, a line each.

        `systems` are the packages that its hosts need, by system.
        """
        there = self.manifest.here
        lines = [f"{a.name} {a.version} {a.arch}: sha256 {a.sha256}" for a in lock.artifacts
                 if a.sha256 not in there and cache.verified(a.sha256) is None]
        by_system = {p.system: p for p in self.manifest.packages}
        for system, names in systems.items():
            its = by_system.get(system)
            lacks = sorted(set(names) - set(its.asked if its else ()))
            lines += [f"packages for {system}: {', '.join(lacks)}"] if lacks else []
            if its and its.sha256 not in there and cache.verified(its.sha256) is None:
                lines.append(f"packages for {system}: sha256 {its.sha256}, which the bundle before this one has")
        return lines


def write(target: Path, manifest: Manifest, files: Mapping[str, Path], keys: Sequence[Path],
          operators: Sequence[str]) -> None:
    """Write and sign a bundle: a tar where `target` ends in .tar, else a directory; whole or not at all."""
    if target.exists():
        raise UsageFault(f"{target}: is there already", code="bundle-is-there", hint=f"ls -l {target}")
    with tempfile.TemporaryDirectory(prefix=".kubewright-bundle-", dir=target.parent) as scratch:
        said = Path(scratch) / MANIFEST
        said.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        signature = signing.sign(said, keys, operators)
        parts = {MANIFEST: said, SIGNATURE: signature, **{f"{FILES}/{d}": files[d] for d in sorted(manifest.here)}}
        if target.suffix == ".tar":
            with whole(target, 0o644) as stream, tarfile.open(fileobj=stream, mode="w",
                                                              format=tarfile.USTAR_FORMAT) as packed:
                for name, path in parts.items():
                    add(packed, name, path)
            return
        made = Path(scratch) / "bundle"
        (made / FILES).mkdir(parents=True)
        for name, path in parts.items():
            with whole(made / name, 0o644) as stream, path.open("rb") as source:
                shutil.copyfileobj(source, stream, _CHUNK)
        made.rename(target)


def read(path: Path, operators: Sequence[str]) -> Bundle:
    """Return the bundle once an operator's signature and every digest agree; else refuse, and take nothing of it."""
    manifest = _signed(path, operators)
    here, seen, faults = manifest.here, set[str](), list[str]()

    def look(name: str, stream: IO[bytes]) -> None:
        found = _NAME.fullmatch(name)
        if found is None:
            return
        digest, size = _hashed(stream)
        held = here.get(found[1])
        if held is None:
            faults.append(f"{name}: is in it, and its manifest does not name it")
        elif digest != found[1]:
            faults.append(f"{held.name}: is not what was signed: sha256 {digest}, signed {found[1]}")
        elif size != held.size:
            faults.append(f"{held.name}: has {size} bytes, {held.size} were signed")
        seen.add(found[1])

    _each(path, look)
    faults += [f"{held.name}: is missing, sha256 {digest}" for digest, held in here.items() if digest not in seen]
    if faults:
        raise RefusedForSafety(f"{path}: checking the bundle: {len(faults)} of its files are not what was signed",
                               details=[*faults, "nothing of it was taken, and no host was contacted"],
                               code="bundle-damaged", hint=f"kubewright artifacts bundle verify {path}")
    return Bundle(path, manifest)


def _signed(path: Path, operators: Sequence[str]) -> Manifest:
    said: dict[str, bytes] = {}

    def keep(name: str, stream: IO[bytes]) -> None:
        if name in (MANIFEST, SIGNATURE):
            said[name] = stream.read(_AT_MOST + 1)

    _each(path, keep)
    lacking = [name for name in (MANIFEST, SIGNATURE) if not 0 < len(said.get(name, b"")) <= _AT_MOST]
    if lacking:
        raise _no_bundle(path, f"it has no {' and no '.join(lacking)}")
    with tempfile.TemporaryDirectory(prefix="kubewright-bundle-") as scratch:
        for name, data in said.items():
            (Path(scratch) / name).write_bytes(data)
        signing.check(Path(scratch) / MANIFEST, Path(scratch) / SIGNATURE, operators, str(path))
    try:
        return Manifest.model_validate(json.loads(said[MANIFEST]))
    except (ValidationError, ValueError) as fault:
        raise _no_bundle(path, f"its manifest is none that this version knows: {str(fault).splitlines()[0]}") from None


def _each(path: Path, look: Callable[[str, IO[bytes]], None]) -> None:
    """Show every file of a bundle with its bytes, in its order; refuse whatever is not a plain file of ours."""
    try:
        for name, stream in _of_directory(path) if path.is_dir() else _of_tar(path):
            look(name, stream)
    except FileNotFoundError:
        raise PreflightRefused(f"{path}: opening the bundle: there is no such file", code="bundle",
                               hint="kubewright artifacts bundle --out FILE") from None
    except (tarfile.TarError, EOFError, OSError) as fault:
        raise of_full_disk(fault, PreflightRefused) or _no_bundle(path, str(fault)) from None


def _of_tar(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(path, "r:") as packed:
        for member in packed:
            stream = packed.extractfile(member) if member.isreg() and not member.issparse() else None
            if stream is None or not _is_ours(member.name):
                raise _strange(path, member.name, _kind(member))
            yield member.name, stream


def _of_directory(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if name == FILES and file.is_dir() and not file.is_symlink():
            continue
        if file.is_symlink() or not file.is_file() or not _is_ours(name):
            raise _strange(path, name, "a link" if file.is_symlink() else "no plain file")
        with file.open("rb") as stream:
            yield name, stream


def _is_ours(name: str) -> bool:
    return name in (MANIFEST, SIGNATURE) or _NAME.fullmatch(name) is not None


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return f"a link to {member.linkname}"
    return "a device" if member.isdev() else "a directory" if member.isdir() else "no plain file"


def _strange(path: Path, name: str, kind: str) -> RefusedForSafety:
    why = kind if _is_ours(name) or kind != "no plain file" else "no file of a bundle"
    return RefusedForSafety(f"{path}: reading the bundle: {name!r} is in it, {why}",
                            details=["a bundle holds plain files by their digest, nothing else",
                                     "nothing of it was taken, and no host was contacted"], code="bundle-strange")


def _no_bundle(path: Path, saw: str) -> RefusedForSafety:
    return RefusedForSafety(f"{path}: reading the bundle: it is none that can be read",
                            details=[saw, "nothing of it was taken, and no host was contacted"], code="bundle-damaged",
                            hint="kubewright artifacts bundle --out FILE")


def _hashed(stream: IO[bytes]) -> tuple[str, int]:
    found, size = hashlib.sha256(), 0
    for chunk in iter(lambda: stream.read(_CHUNK), b""):
        found.update(chunk)
        size += len(chunk)
    return found.hexdigest(), size
