"""From versions to a lock, and from a lock to files: what the verbs call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from provisioner.artifacts import bundle as bundles
from provisioner.artifacts.builder import Builder, Wanted
from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import ARCHES, Catalogue, load_catalogue
from provisioner.artifacts.lockfile import load_lock
from provisioner.artifacts.published import Publications, load_publications
from provisioner.artifacts.sources import RELEASE, Source
from provisioner.errors import PreflightRefused, RefusedForSafety
from provisioner.model import families
from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.cluster import Cluster
from provisioner.model.components import packages_of
from provisioner.model.events import Emit
from provisioner.model.inventory import Inventory
from provisioner.model.releases import RELEASES, minor_of
from provisioner.parallel import ask_all

_HASHERS = 4
SYSTEM = families.DEFAULT.key       # what bundles carry OS packages for; hosts of others need sources of their own
# What the versions beside each Kubernetes come out as; a test holds the lab's committed lock equal to one of them.
KNOWN = Path(__file__).with_name("digests")


def default_versions(kubernetes: str, *, lab: bool, catalogue: Catalogue | None = None) -> dict[str, str]:
    """Return component -> version for a fresh lock: the inventory's Kubernetes, what goes with it, and tools."""
    beside = minor_of(kubernetes).beside if kubernetes in RELEASES else {}      # the catalogue refuses such a one
    return (catalogue or load_catalogue()).defaults(lab=lab) | {"kubernetes": kubernetes, **beside}


def known() -> tuple[LockedArtifact, ...]:
    """Return every file whose digest is known, each version of it once."""
    return tuple(dict.fromkeys(a for path in sorted(KNOWN.glob("*.lock")) for a in load_lock(path).artifacts))


def release_versions(kubernetes: str, arches: Sequence[str], published: Publications | None = None) -> dict[str, str]:
    """Return component -> version for a fresh lock of published files: what goes with this Kubernetes, or one before.

    Kubernetes itself is exactly what the inventory says; of the rest the newest is taken whose digest was published.
    """
    found = published or load_publications()
    return {name: version if name == "kubernetes" else found.nearest(name, version, tuple(arches))
            for name, version in default_versions(kubernetes, lab=False).items()}


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


def is_first(inventory: Inventory) -> bool:
    """Say whether nothing was pinned here yet, and there is no cluster either whose lock was lost."""
    return not inventory.artifacts_lock_path.exists() and not inventory.has_secrets


def first_lock(inventory: Inventory) -> ArtifactLock | None:
    """Return by what machines can be looked at before anything was pinned: the digests that are known, if all are.

    None where something is pinned, or should be. What upstream publishes has other digests, so its directories under
    /opt/kubewright get other names.
    """
    if not is_first(inventory):
        return None
    cluster = inventory.cluster
    try:
        return known_lock(default_versions(cluster.kubernetes, lab=cluster.lab), (ARCHES[0],))
    except RefusedForSafety:
        return None


def build_lock(versions: Mapping[str, str], arches: Sequence[str], *, emit: Emit, cache: Cache | None = None,
               catalogue: Catalogue | None = None, source: str = "", release: Source | None = None) -> ArtifactLock:
    """Bring these versions (what is in the cache is only checked) and return the lock that pins what came.

    `release` downloads what is published; else they are made here. What is only for tests is made here always.
    """
    catalogue = catalogue or load_catalogue()
    published = {name for name in versions if source == RELEASE and not catalogue.find(name, "").lab}
    wanted = [Wanted(name, version, arch, RELEASE if name in published else "")
              for arch in arches for name, version in versions.items()]
    came = _builder(emit, catalogue, cache, release).deliver_all(wanted)
    return ArtifactLock(tuple(artifact for what in wanted for artifact in came[what]))


def merged(old: ArtifactLock, new: ArtifactLock) -> ArtifactLock:
    """Return `old` with the components of `new` in place of its own, per architecture."""
    replaced = {(a.component, a.arch) for a in new.artifacts}
    kept = tuple(a for a in old.artifacts if (a.component, a.arch) not in replaced)
    return ArtifactLock(kept + new.artifacts)


def fetch(lock: ArtifactLock, *, emit: Emit, cache: Cache | None = None,
          catalogue: Catalogue | None = None, release: Source | None = None) -> dict[str, Path]:
    """Make every file of the lock present and return sha256 -> path; each was hashed just now.

    What is missing comes from the source that the lock names. Other bytes than it pins are refused, never handed out.
    """
    cache = cache or Cache()
    present = held(lock, cache=cache)
    missing = [a for a in lock.artifacts if a.sha256 not in present]
    if missing:
        by_build: dict[Wanted, list[LockedArtifact]] = {}
        for artifact in missing:
            by_build.setdefault(_wanted(artifact), []).append(artifact)
        _builder(emit, catalogue, cache, release).deliver_all(
            by_build, lambda what, came: refuse_other_bytes(by_build[what], came))
        present |= {a.sha256: cache.path(a.sha256) for a in missing}
    return {a.sha256: present[a.sha256] for a in lock.artifacts}


def _wanted(artifact: LockedArtifact) -> Wanted:
    """Return what brings a file of a lock; an image of ours (`oci`) is packed from what is made here."""
    return Wanted(artifact.component, artifact.version, artifact.arch, RELEASE if artifact.source == RELEASE else "")


def _builder(emit: Emit, catalogue: Catalogue | None, cache: Cache | None, release: Source | None) -> Builder:
    given = {"release": release} if release is not None else {}
    return Builder(emit, catalogue or load_catalogue(), cache or Cache(), **given)


def held(lock: ArtifactLock, *, cache: Cache | None = None) -> dict[str, Path]:
    """Return sha256 -> path of the lock's files that are in the cache and whole; builds nothing."""
    store = cache or Cache()
    digests = sorted({a.sha256 for a in lock.artifacts})
    found = ask_all(store.verified, digests, workers=_HASHERS, name="hash")
    return {digest: path for digest, path in found.items() if path is not None}


def packages_asked(cluster: Cluster) -> tuple[str, ...]:
    """Return the OS packages that some host of the cluster needs."""
    return tuple(sorted({name for host in cluster.machines
                         for name in packages_of(cluster, host, families.DEFAULT)}))


def opened_bundle(file: Path, inventory: Inventory, cache: Cache | None = None) -> bundles.Bundle:
    """Return a bundle that holds, with the cache, all that this inventory needs; else refuse with what is missing."""
    found = bundles.read(file, inventory.operators)
    lock = load_lock(inventory.artifacts_lock_path)
    asked = packages_asked(inventory.cluster)
    systems = {f"{SYSTEM}-{arch}": asked for arch in {a.arch for a in lock.artifacts}}
    missing = found.missing(lock, cache or Cache(), systems if found.manifest.packages else {})
    if missing:
        raise PreflightRefused(f"{file}: checking the bundle: it lacks {len(missing)} of what this inventory needs",
                               details=[*missing, "no host was contacted"], code="bundle-incomplete",
                               hint="kubewright artifacts bundle --out FILE")
    return found


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
    if artifact.published:
        return f"of {artifact.origin}, {artifact.published}"
    return artifact.toolchain or "toolchain not recorded"
