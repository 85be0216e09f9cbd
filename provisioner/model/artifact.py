"""The identity of every byte we run: what `artifacts.lock` says, as values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

_LINK = re.compile(r"link /opt/kubewright/([^/]+)/(\d+\.\d+\.\d+)-[^/]+/([^/ ]+)(?: but |$)")


@dataclass(frozen=True)
class LockedArtifact:
    """One file with a pinned digest: a binary, or an OCI image archive.

    `name` is the file's name (`kube-apiserver`, `ptp`, `coredns.tar`); `component` groups files that change together
    (`cni-plugins`); `source` says where it comes from (`go`, `release`, `oci`); `image` is an image's full reference.
    Of a `release`, `origin` is where upstream has it and `published` the digest that its file was checked against.
    """

    name: str
    component: str
    version: str
    arch: str
    kind: Literal["binary", "image"]
    source: str
    sha256: str
    size: int
    image: str = ""
    toolchain: str = ""              # what made the bytes: go1.26.8; for comparing when a build differs
    origin: str = ""
    published: str = ""

    @property
    def host_path(self) -> str:
        """Where the file lives on a host: versions stand side by side, so going back is a symlink."""
        return f"/opt/kubewright/{self.component}/{self.version}-{self.sha256[:8]}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, as files have it: without what is empty."""
        return {key: value for key, value in asdict(self).items() if value != ""}


class Stored(NamedTuple):
    """What the path of a file in a host's store says of it; see `LockedArtifact.host_path`."""

    component: str
    version: str
    name: str

    @classmethod
    def of_link(cls, state: str) -> Stored | None:
        """Return what a link leads to, by its state string; None for what is no link into the store."""
        found = _LINK.match(state)
        return cls(*found.groups()) if found else None

    @property
    def minor(self) -> tuple[str, ...]:
        """Return the first two parts of its version."""
        return tuple(self.version.split(".")[:2])


@dataclass(frozen=True)
class ArtifactLock:
    """All pinned artifacts of one inventory."""

    artifacts: tuple[LockedArtifact, ...]

    def get(self, name: str, arch: str) -> LockedArtifact:
        """Return the artifact called `name` for `arch`; KeyError names what is missing."""
        for artifact in self.artifacts:
            if artifact.name == name and artifact.arch == arch:
                return artifact
        raise KeyError(f"{name} for {arch} is not in artifacts.lock")

    def for_arch(self, arch: str) -> Iterable[LockedArtifact]:
        """Yield the artifacts of one architecture in the order of the lock file."""
        return (a for a in self.artifacts if a.arch == arch)
