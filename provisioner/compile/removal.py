"""Owned and no longer desired: the removals of a host, in the order in which they can be made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from provisioner.model.desired import Artifact, Certificate, Desired, HostDesired, Item, Symlink, Unit
from provisioner.model.observed import ABSENT, HostObserved, OwnedItem
from provisioner.model.phases import PhaseName
from provisioner.model.plan import NOTED, Change, Verdict

PHASE: Final = "remove"
KEPT = "changed-by-others"
# What must be gone before its peers change: while it runs, it answers with what they say no more (the phase of each).
EARLY: Mapping[str, PhaseName] = {"keepalived.service": "load-balancer"}
# Units end before what they use goes; what cannot be put back goes last.
_ORDER = ("unit", "processes", "netdev", "nft", "chains", "netns", "selinux-module", "file", "symlink", "certificate",
          "artifact", "data", "directory", "sysctl", "swap", "user", "package")
REVERSIBLE = ("unit", "file", "symlink", "certificate")
_WRITTEN = ("file", "symlink", "certificate")
_PATHS = (*_WRITTEN, "directory", "artifact")
_NO_MORE = "no longer desired"


class Removals(NamedTuple):
    """What is taken off hosts, and what is left there although it is ours, since somebody else has changed it."""

    changes: tuple[Change, ...] = ()
    kept: tuple[Verdict, ...] = ()

    @property
    def early(self) -> tuple[Change, ...]:
        """Return what goes before anything else of its phase is changed."""
        return tuple(c for c in self.changes if c.phase != PHASE)

    @property
    def late(self) -> tuple[Change, ...]:
        """Return what goes in a phase of its own, when all that is desired is there."""
        return tuple(c for c in self.changes if c.phase == PHASE)


def of_hosts(desired: Desired, observed: Mapping[str, HostObserved], why: str = _NO_MORE) -> Removals:
    """Return what is taken off all hosts that were observed."""
    each = [removals(host, observed[host.name], why) for host in desired.hosts.values() if host.name in observed]
    return Removals(tuple(c for of_host in each for c in of_host.changes),
                    tuple(v for of_host in each for v in of_host.kept))


def removals(host: HostDesired, observed: HostObserved, why: str = _NO_MORE) -> Removals:
    """Return what is owned on a host and not desired there any more."""
    claims = _Claims(host, observed)
    ours = sorted((o for o in observed.owned if not claims.has(o)), key=_order)
    kept = tuple(_kept(host.name, owned) for owned in ours if _is_changed(owned))
    gone = [o for o in ours if not _is_changed(o)]
    changes = (change for owned in gone if (change := _removal(host.name, owned, why)) is not None)
    return Removals(tuple(changes), kept)


def _order(owned: OwnedItem) -> tuple[int, int, int]:
    """Put what came last first; of directories the innermost."""
    depth = len(PurePosixPath(owned.path).parts) if owned.kind == "directory" else 0
    return _ORDER.index(owned.kind), -depth, -owned.seq


class _Claims:
    """What of a host's possessions is still asked for."""

    def __init__(self, host: HostDesired, observed: HostObserved) -> None:
        self._identities = {(i.kind, i.path) for i in host.items}
        self._paths = {path for i in host.items if i.kind in _PATHS for path in _paths(i)}
        self._units = {i.path for i in host.items if isinstance(i, Unit)}
        # What came with packages goes with them, and alone where none of them came: its run was killed before that.
        self._packages = any(i.kind == "package" for i in host.items) or any(
            o.kind == "package" and o.asked for o in observed.owned)
        self._spare = set(_to_go_back_to(host.items, observed))

    def has(self, owned: OwnedItem) -> bool:
        """Say whether the thing stays; what a unit leaves behind stays with it, a package's dependencies with it."""
        if owned.of:
            return owned.of in self._units
        if owned.kind == "package" and not owned.asked:
            return self._packages
        if owned.kind in _PATHS:
            kept = self._paths | self._spare
            inside = owned.kind == "directory" and any(path.startswith(f"{owned.path}/") for path in kept)
            return owned.path in kept or inside
        return (owned.kind, owned.path) in self._identities


def _paths(item: Item) -> Iterable[str]:
    return (item.path, item.key_path) if isinstance(item, Certificate) else (item.path,)


def _to_go_back_to(items: Iterable[Item], observed: HostObserved) -> Iterable[str]:
    """Yield of each artifact in use the one generation more that stays: what its link points to, else the newest."""
    items = tuple(items)
    links = {i.target: observed.state("symlink", i.path).removeprefix("link ") for i in items if isinstance(i, Symlink)}
    for item in (i for i in items if isinstance(i, Artifact)):
        others = {o.path: o for o in observed.owned if o.kind == "artifact" and _name(o.path) == _name(item.path)}
        now = links.get(item.path, "")
        if now in others:
            yield now
        elif others:
            yield max(others.values(), key=lambda o: o.seq).path


def _name(path: str) -> tuple[str, ...]:
    """Return what all versions of an artifact have in common: `/opt/kubewright/COMPONENT/VERSION/NAME`."""
    parts = PurePosixPath(path).parts
    return (*parts[:-2], parts[-1])


def _is_changed(owned: OwnedItem) -> bool:
    """Say whether a file is not as we wrote it last; a kernel setting likewise."""
    return owned.kind in (*_WRITTEN, "sysctl") and owned.wrote not in ("", owned.state)


def _kept(host: str, owned: OwnedItem) -> Verdict:
    return Verdict(f"{host}:{owned.path}", KEPT, NOTED, "somebody else has changed it, so it stays as it is",
                   "ours and " + _NO_MORE, "kept")


def _removal(host: str, owned: OwnedItem, why: str) -> Change | None:
    if owned.kind == "unit" and owned.state.split()[0] in ("inactive", "failed") and " enabled " not in owned.state:
        return None
    if owned.kind == "sysctl" and owned.was in ("", ABSENT):
        return None     # what it was before is not known, or it came with a module: no value is the right one
    want, action = ABSENT, "remove"
    if owned.was not in ("", ABSENT) and owned.kind not in ("unit", "artifact"):
        want = owned.was
        why = f"{why}: as it was before"
        action = "restore" if owned.kind in _WRITTEN else "remove"
    if owned.kind == "artifact":
        why = f"{why}: {owned.size / 1e6:.0f} MB"
    return Change(host=host, phase=EARLY.get(owned.path, PHASE), kind=owned.kind, path=owned.path, action=action,
                  reason=why, expect=owned.state, want=want, undo=True)


def goes_back(change: Change) -> bool:
    """Say whether the host itself can undo a removal, from what it keeps of every file."""
    return change.kind in REVERSIBLE
