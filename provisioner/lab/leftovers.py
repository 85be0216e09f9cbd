"""What a killed lab left behind: found by comparing listings, pure, so every mixture can be a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.lab.instance import Instance
from provisioner.lab.network import link_name
from provisioner.lab.processes import ProcessRecord, is_same


@dataclass(frozen=True)
class Seen:
    """Listings of one moment. `started` tells when the process now at a number began, None when there is none."""

    boot: str
    records: Mapping[str, ProcessRecord | None]          # by node that has a directory
    started: Mapping[int, str | None] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()                         # mount points below the state directory
    members: Mapping[str, frozenset[int]] = field(default_factory=dict)   # by node that has a cgroup
    links: Mapping[str, tuple[str, ...]] = field(default_factory=dict)    # in the namespace: name -> other names


@dataclass(frozen=True)
class Leftover:
    """One thing of a node that is not running."""

    node: str
    kind: str          # mount, cgroup, process, link, record
    what: str


def alive(seen: Seen) -> frozenset[str]:
    """Return the nodes whose recorded process is the one that runs now."""
    return frozenset(name for name, record in seen.records.items()
                     if record is not None and is_same(record, seen.started.get(record.pid), seen.boot))


def link_of(machine: str, links: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return the bridge-side link of a machine: named after it, or, where that is too long, bearing it as an alias."""
    wanted = link_name(machine)
    for name, others in links.items():
        if name == wanted or wanted in others:
            return name
    return None


def find(instance: Instance, seen: Seen, spare: str) -> tuple[Leftover, ...]:
    """Return everything that belongs to nodes which do not run; `spare` names the cgroup that is not a node's.

    A living node owns its mounts, groups and link. What has no living owner is a leftover, whoever left it.
    """
    running = alive(seen)
    names = (set(seen.records) | set(seen.members)) - running - {spare}
    found: list[Leftover] = []
    for name in sorted(names):
        directory = instance.node_dir(name)
        found += [Leftover(name, "mount", point) for point in seen.mounts if _is_below(point, directory)]
        if name in seen.members:
            found.append(Leftover(name, "cgroup", name))
            found += [Leftover(name, "process", str(pid)) for pid in sorted(seen.members[name])]
        link = link_of(instance.machine(name), seen.links)
        if link:
            found.append(Leftover(name, "link", link))
        if seen.records.get(name) is not None:
            found.append(Leftover(name, "record", "node-process.json"))
    return tuple(found)


def _is_below(point: str, directory: Path) -> bool:
    return point == str(directory) or point.startswith(f"{directory}/")


def describe(found: tuple[Leftover, ...]) -> str:
    """Return one line for the console: how much of what was cleaned away."""
    counts = {kind: sum(1 for f in found if f.kind == kind) for kind in ("process", "mount", "cgroup", "link")}
    parts = [f"{n} {kind}{'es' if kind == 'process' and n != 1 else 's' if n != 1 else ''}"
             for kind, n in counts.items() if n]
    return ", ".join(parts)
