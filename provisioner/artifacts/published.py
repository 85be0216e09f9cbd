"""published.yaml: which files upstream publishes, where they lie, and the sha256 of each."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from provisioner.artifacts.catalogue import HERE, Digest, FileName, Version
from provisioner.errors import KubewrightError, RefusedForSafety
from provisioner.model.releases import numbers

Address = Annotated[str, StringConstraints(pattern=r"^https://[^\s@]+$")]
Arch = Literal["amd64", "arm64"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishedFile(_Entry):
    """One thing to download: a file at `url`, or an `image` of a registry; `members` are taken out of it."""

    url: Address = ""
    image: str = ""
    members: dict[FileName, str] = {}

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if bool(self.url) == bool(self.image):
            raise ValueError("either url or image")
        return self


class PublishedComponent(_Entry):
    """What is published of a component, and the digests: version -> file -> architecture -> sha256."""

    files: dict[FileName, PublishedFile] = Field(min_length=1)
    digests: dict[Version, dict[FileName, dict[Arch, Digest]]]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for version, digests in self.digests.items():
            if digests.keys() != self.files.keys():
                raise ValueError(f"{version}: digests of {sorted(digests)}, files are {sorted(self.files)}")
        return self


@dataclass(frozen=True)
class Origin:
    """One file of one version and architecture, with everything filled in."""

    name: str
    url: str
    image: str
    members: dict[str, str]
    sha256: str

    @property
    def place(self) -> str:
        """Return where it is from, as a lock tells it."""
        return self.url or self.image


class Publications(_Entry):
    """All that is known to be published."""

    components: dict[str, PublishedComponent]

    def versions(self, component: str, arch: str) -> tuple[str, ...]:
        """Return the versions of which every file has a digest for `arch`, the newest first."""
        found = self.components.get(component)
        return tuple(v for v, files in found.digests.items() if all(arch in d for d in files.values())) if found else ()

    def origins(self, component: str, version: str, arch: str) -> Iterator[Origin]:
        """Give what is to be downloaded; RefusedForSafety where no digest of it was published."""
        known = self.versions(component, arch)
        if version not in known:
            raise RefusedForSafety(
                f"this machine: download {component} {version} for {arch}: no digest of it is known",
                code="not-published",
                details=["known are: " + (", ".join(known) or "none"),
                         "without a published digest nobody can tell its bytes from others"],
                hint=f"kubewright artifacts build --component {component} --source go --write-lock")
        its = self.components[component]

        def filled(text: str) -> str:
            return text.format(version=version, arch=arch)

        for name, file in its.files.items():
            yield Origin(name, filled(file.url), filled(file.image),
                         {ours: filled(member) for ours, member in file.members.items()},
                         its.digests[version][name][cast(Arch, arch)])

    def nearest(self, component: str, wanted: str, arches: tuple[str, ...]) -> str:
        """Return the wanted version where it is published, else the newest one before it; else the wanted one."""
        both = [v for v in self.versions(component, arches[0]) if all(v in self.versions(component, a) for a in arches)]
        at_most = numbers(wanted)
        older = [v for v in both if numbers(v)[:len(at_most)] <= at_most]      # 3.10.1 is one of 3
        return max(older, key=numbers, default=wanted)


def load_publications(path: Path | None = None) -> Publications:
    """Read published.yaml; a fault in it is ours, so it names the file and the field."""
    return _load(path or HERE / "published.yaml")


@functools.cache
def _load(path: Path) -> Publications:
    try:
        return Publications.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as fault:
        lines = [f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in fault.errors()]
        raise KubewrightError(f"{path.name}: what is published is not valid", details=lines) from None
