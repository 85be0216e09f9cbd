"""The catalogue: which components there are, in which versions, and how each one's bytes are made."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from provisioner.errors import InventoryRefused, KubewrightError

HERE = Path(__file__).resolve().parent
ARCHES = ("amd64", "arm64")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9][A-Za-z0-9.+-]*$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GoSource(_Entry):
    """Binaries built from Go modules; `set` are link-time variables, `without_imports` is cut from the main package."""

    modules: tuple[str, ...]
    binaries: dict[FileName, str] = Field(min_length=1)
    tags: tuple[str, ...] = ()
    set: dict[str, str] = {}
    without_imports: tuple[str, ...] = ()


class DebianSource(_Entry):
    """Files of a Debian package that this machine has installed; name of ours -> path in the package."""

    package: str
    files: dict[FileName, str] = Field(min_length=1)


class Image(_Entry):
    """An OCI image packed from the component's binaries: path in the image -> binary, applet links, small texts."""

    archive: FileName
    reference: str
    files: dict[str, FileName] = Field(min_length=1)
    links: dict[str, tuple[FileName, ...]] = {}
    texts: dict[str, str] = {}
    directories: tuple[str, ...] = ()
    entrypoint: tuple[str, ...]
    command: tuple[str, ...] = ()


class Component(_Entry):
    """One component; hosts get its image where it has one, else its binaries."""

    name: str
    default: Version
    versions: tuple[Version, ...] = Field(min_length=1)
    lab: bool = False
    go: GoSource | None = None
    debian: DebianSource | None = None
    image: Image | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.default not in self.versions:
            raise ValueError(f"default {self.default} is not among versions")
        if self.go is None and self.debian is None:
            raise ValueError("no source: go or debian")
        if self.image and not set(self.image.files.values()) <= set(self.binaries):
            raise ValueError("the image takes a binary that no source makes")
        return self

    @property
    def go_source(self) -> GoSource:
        """Return the source `go`; a component without one is a fault of ours."""
        if self.go is None:
            raise KubewrightError(f"{self.name}: the catalogue has no source `go` for it")
        return self.go

    @property
    def binaries(self) -> tuple[str, ...]:
        """Return the names of the binaries that building this component gives."""
        if self.go is not None:
            return tuple(self.go.binaries)
        return tuple(self.debian.files) if self.debian is not None else ()

    @property
    def source(self) -> str:
        """Return how this machine makes it: `go` or `debian`."""
        return "go" if self.go is not None else "debian"

    @property
    def delivered(self) -> tuple[str, ...]:
        """Return the names of the files that a host gets, as they stand in the lock."""
        return (self.image.archive,) if self.image else self.binaries

    def module_dir(self, version: str) -> Path:
        """Return the directory with the committed go.mod, go.sum and sources of `version`."""
        return HERE / "modules" / self.name / version


class Catalogue(_Entry):
    """All components and the toolchain that builds them."""

    toolchain: Annotated[str, StringConstraints(pattern=r"^go1\.\d+\.\d+$")]
    toolchain_sums: dict[str, Annotated[str, StringConstraints(pattern=r"^h1:[A-Za-z0-9+/]{43}=$")]] = {}
    components: dict[str, Component]

    def find(self, component: str, version: str) -> Component:
        """Return the component, of any version where none is named, or refuse with the names and versions there are."""
        found = self.components.get(component)
        if found is None:
            raise InventoryRefused(
                f"artifacts: the catalogue has no component {component}", code="artifact-unknown",
                details=[f"known: {', '.join(self.components)}"], hint="kubewright artifacts list")
        if version and version not in found.versions:
            raise InventoryRefused(
                f"artifacts: the catalogue has no {component} {version}", code="artifact-unknown",
                details=[f"known: {', '.join(found.versions)}"], hint="kubewright artifacts list")
        return found

    def defaults(self, *, lab: bool) -> dict[str, str]:
        """Return component -> version for a new lock; what is for tests only is left out unless `lab`."""
        return {c.name: c.default for c in self.components.values() if lab or not c.lab}


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read the catalogue; a fault in it is ours, so it names the file and the field."""
    return _load(path or HERE / "catalogue.yaml")


@functools.cache
def _load(path: Path) -> Catalogue:
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        for name, entry in raw["components"].items():
            entry["name"] = name
        return Catalogue.model_validate(raw)
    except ValidationError as fault:
        lines = [f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in fault.errors()]
        raise KubewrightError(f"{path.name}: the catalogue is not valid", details=lines) from None


def machine_arch() -> str:
    """Return this machine's architecture as Go and Debian name it, else as the kernel does."""
    return _MACHINES.get(platform.machine(), platform.machine())


def fill(text: str, version: str) -> str:
    """Put the version and its parts into a text of the catalogue."""
    parts = [*version.split("."), "", "", ""]
    return text.format(version=version, major=parts[0], minor=parts[1], patch=parts[2])


def digest_of(*parts: bytes) -> str:
    """Return one sha256 over several byte strings, each with its length, so that no two lists collide."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()
