"""From versions to a lock, and from a lock to files: what the verbs call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from provisioner.artifacts.builder import Builder, Wanted
from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import Catalogue, load_catalogue
from provisioner.artifacts.lockfile import load_lock
from provisioner.errors import RefusedForSafety
from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.events import Emit
from provisioner.model.releases import RELEASES, minor_of
from provisioner.parallel import ask_all

_HASHERS = 4
# What the versions beside each Kubernetes come out as; a test holds the lab's committed lock equal to one of them.
KNOWN = Path(__file__).with_name("digests")


def default_versions(kubernetes: str, *, lab: bool, catalogue: Catalogue | None = None) -> dict[str, str]:
    """Return component -> version for a fresh lock: the inventory's Kubernetes, what goes with it, and tools."""
    beside = minor_of(kubernetes).beside if kubernetes in RELEASES else {}      # the catalogue refuses such a one
    return (catalogue or load_catalogue()).defaults(lab=lab) | {"kubernetes": kubernetes, **beside}


def known() -> tuple[LockedArtifact, ...]:
    """Return every file whose digest is known, each version of it once."""
    return tuple(dict.fromkeys(a for path in sorted(KNOWN.glob("*.lock")) for a in load_lock(path).artifacts))


def known_lock(versions: Mapping[str, str], arches: Sequence[str]) -> ArtifactLock:
    """Return the lock of these versions from digests that are known already, since builds give the same bytes again.

    RefusedForSafety where one of them was never built for the architecture: only a build can tell its digest.
    """
    digests = known()
    found = tuple(a for arch in arches for name, version in versions.items()
                  for a in digests if (a.component, a.version, a.arch) == (name, version, arch))
    missing = sorted({f"{name} {version} for {arch}" for arch in arches for name, version in versions.items()}
                     - {f"{a.component} {a.version} for {a.arch}" for a in found})
    if missing:
        raise RefusedForSafety(f"this machine: pin artifacts: no digest is known of {', '.join(missing)}",
                               code="digest-unknown", hint=" ".join(["kubewright artifacts build --write-lock", *(
                                   f"--arch {arch}" for arch in arches)]))
    return ArtifactLock(found)


def build_lock(versions: Mapping[str, str], arches: Sequence[str], *, emit: Emit, cache: Cache | None = None,
               catalogue: Catalogue | None = None) -> ArtifactLock:
    """Build these versions (what is in the cache is only checked) and return the lock that pins what came out."""
    catalogue = catalogue or load_catalogue()
    wanted = [(name, version, arch) for arch in arches for name, version in versions.items()]
    came = Builder(emit, catalogue, cache or Cache()).deliver_all(wanted)
    return ArtifactLock(tuple(artifact for what in wanted for artifact in came[what]))


def merged(old: ArtifactLock, new: ArtifactLock) -> ArtifactLock:
    """Return `old` with the components of `new` in place of its own, per architecture."""
    replaced = {(a.component, a.arch) for a in new.artifacts}
    kept = tuple(a for a in old.artifacts if (a.component, a.arch) not in replaced)
    return ArtifactLock(kept + new.artifacts)


def fetch(lock: ArtifactLock, *, emit: Emit, cache: Cache | None = None,
          catalogue: Catalogue | None = None) -> dict[str, Path]:
    """Make every file of the lock present and return sha256 -> path; each was hashed just now.

    What is missing is built. A build of other bytes than the lock pins is refused and never handed out.
    """
    cache = cache or Cache()
    present = held(lock, cache=cache)
    missing = [a for a in lock.artifacts if a.sha256 not in present]
    if missing:
        by_build: dict[Wanted, list[LockedArtifact]] = {}
        for artifact in missing:
            by_build.setdefault((artifact.component, artifact.version, artifact.arch), []).append(artifact)
        Builder(emit, catalogue or load_catalogue(), cache).deliver_all(
            by_build, lambda what, came: refuse_other_bytes(by_build[what], came))
        present |= {a.sha256: cache.path(a.sha256) for a in missing}
    return {a.sha256: present[a.sha256] for a in lock.artifacts}


def held(lock: ArtifactLock, *, cache: Cache | None = None) -> dict[str, Path]:
    """Return sha256 -> path of the lock's files that are in the cache and whole; builds nothing."""
    store = cache or Cache()
    digests = sorted({a.sha256 for a in lock.artifacts})
    found = ask_all(store.verified, digests, workers=_HASHERS, name="hash")
    return {digest: path for digest, path in found.items() if path is not None}


def refuse_other_bytes(pinned: Iterable[LockedArtifact], built: Iterable[LockedArtifact]) -> None:
    """Refuse when a build did not give the pinned bytes: names both digests and what made each."""
    by_name = {a.name: a for a in built}
    faults, component = [], ""
    for pin in pinned:
        made = by_name.get(pin.name)
        if made is not None and made.sha256 == pin.sha256:
            continue
        component = pin.component
        faults.append(f"{pin.name} {pin.version} {pin.arch}: pinned sha256 {pin.sha256} ({_maker(pin)})")
        faults.append(f"{' ' * len(pin.name)} {pin.version} {pin.arch}: built  sha256 {made.sha256} ({_maker(made)})"
                      if made else f"{pin.name}: {component} {pin.version} in the catalogue has no such file")
    if faults:
        raise RefusedForSafety(
            f"this machine: build {component}: the bytes are not those that artifacts.lock pins",
            code="artifact-mismatch",
            details=[*faults, "to run the new bytes on purpose, write the lock anew and read its diff"],
            hint=f"kubewright artifacts build --component {component} --write-lock")


def _maker(artifact: LockedArtifact) -> str:
    return artifact.toolchain or "toolchain not recorded"
