"""artifacts.lock: read with every fault named, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from provisioner.artifacts.catalogue import ARCHES, Digest, FileName, Version
from provisioner.errors import InventoryRefused
from provisioner.files import write_whole
from provisioner.model.artifact import ArtifactLock, LockedArtifact

_HEADER = """\
# The identity of every byte that the hosts of this cluster run. Written by `kubewright artifacts build --write-lock`;
# commit it: with it a second operator's `up` runs the same bytes, and what differs is refused.
"""
_HINT = "kubewright artifacts build --write-lock"


# name[:tag][@digest], as containerd reads it; and what `go version` says. Both reach hosts or people as they are.
Reference = Annotated[str, StringConstraints(
    pattern=r"^([a-z0-9]([a-z0-9._:/-]*[a-z0-9])?(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?)?$")]
# Where a release was published, and the digest of what was published: for people, nothing is fetched from there.
Origin = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.,:+~=_/@%?&-]*$")]
Toolchain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.,:+~= _-]*$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: FileName
    component: FileName
    version: Version
    arch: Literal["amd64", "arm64"]
    kind: Literal["binary", "image"]
    source: Literal["go", "debian", "release", "oci"]
    sha256: Digest
    size: int = Field(gt=0)
    image: Reference = ""
    toolchain: Toolchain = ""
    origin: Origin = ""
    published: Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    artifacts: list[_Entry]


def load_lock(path: Path) -> ArtifactLock:
    """Read artifacts.lock; every fault in it is listed in one refusal."""
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InventoryRefused(f"{path}: there is no artifacts.lock yet", code="artifacts-lock",
                               hint="kubewright artifacts lock") from None
    except OSError as err:
        raise InventoryRefused(f"{path}: reading artifacts.lock: {err.strerror}", code="artifacts-lock",
                               hint=_HINT) from None
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise InventoryRefused(f"{path}: not valid YAML", code="artifacts-lock", hint=_HINT,
                               details=str(fault).splitlines()) from None
    if not isinstance(raw, dict):
        what = "the file is empty" if raw is None else "must be a mapping, with `version` and `artifacts`"
        raise InventoryRefused(f"{path}: not a valid lock", code="artifacts-lock", hint=_HINT, details=[what])
    try:
        entries = _File.model_validate(raw).artifacts
    except ValidationError as fault:
        raise InventoryRefused(f"{path}: not a valid lock", code="artifacts-lock", hint=_HINT,
                               details=[_line(raw, e["loc"], e["msg"]) for e in fault.errors()]) from None
    _refuse_doubles(path, entries)
    return ArtifactLock(tuple(LockedArtifact(**entry.model_dump()) for entry in entries))


def write_lock(path: Path, lock: ArtifactLock) -> None:
    """Write artifacts.lock, sorted by component and name, so that a change is a small diff."""
    order = sorted(lock.artifacts, key=lambda a: (ARCHES.index(a.arch), a.component, a.name))
    entries = [artifact.to_json() for artifact in order]
    text = yaml.safe_dump({"version": 1, "artifacts": entries}, sort_keys=False, width=120)
    write_whole(path, _HEADER + text, 0o644)


def _refuse_doubles(path: Path, entries: list[_Entry]) -> None:
    seen: set[tuple[str, str]] = set()
    doubles = []
    for entry in entries:
        identity = (entry.name, entry.arch)
        if identity in seen:
            doubles.append(f"artifacts: {entry.name} for {entry.arch} stands there twice")
        seen.add(identity)
    if doubles:
        raise InventoryRefused(f"{path}: not a valid lock", code="artifacts-lock", details=doubles, hint=_HINT)


def _line(raw: Any, location: tuple[int | str, ...], message: str) -> str:
    """Return one fault, with the artifact's name where it has one."""
    where = ".".join(str(part) for part in location)
    if len(location) > 1 and location[0] == "artifacts" and isinstance(location[1], int):
        entry = raw["artifacts"][location[1]]
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            where += f" ({entry['name']})"
    return f"{where}: {message}"
