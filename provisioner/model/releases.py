"""Which Kubernetes can be had, and what goes with each minor: the one table that everybody asks.

`validate`, `version`, the schema and `artifacts` read it; the catalogue of artifacts has the same versions, as a test
asserts. What flags, fields and gates a version takes is in provisioner/model/takes, written by scripts/takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_TAKES = Path(__file__).parent / "takes"


@dataclass(frozen=True)
class Minor:
    """One minor of Kubernetes: its releases that can be had, and the versions that go with it.

    `beside` is what a new artifacts.lock takes, component -> version; `floors` is the oldest that a lock may pin,
    component -> the first part of its version -> the whole of it; a version that begins otherwise may not be pinned.
    """

    releases: tuple[str, ...]
    beside: Mapping[str, str]
    floors: Mapping[str, Mapping[str, str]]
    refuses_cgroup_v1: bool         # the kubelet's default of failCgroupV1


# The first etcd of each minor without the TLS handshake exhaustion GHSA-6vch-q96h-7gc3; 3.5 spells flags otherwise.
_ETCD = {"3.6": "3.6.14", "3.7": "3.7.1"}
# 1.35 was the last to run on containerd 1, which has another configuration; nobody of ours ever ran it.
_CONTAINERD = {"2": "2.0.0"}

MINORS: Mapping[str, Minor] = {
    "1.35": Minor(
        releases=("1.35.4",),
        beside={"etcd": "3.6.16", "containerd": "2.4.2", "cni-plugins": "1.9.1", "crictl": "1.37.0",
                "flannel": "0.28.10", "coredns": "1.15.0", "metrics-server": "0.9.0", "pause": "3"},
        floors={"etcd": _ETCD, "containerd": _CONTAINERD},
        refuses_cgroup_v1=True),
    "1.36": Minor(
        releases=("1.36.3",),
        beside={"etcd": "3.6.16", "containerd": "2.4.2", "cni-plugins": "1.9.1", "crictl": "1.37.0",
                "flannel": "0.28.10", "coredns": "1.15.0", "metrics-server": "0.9.0", "pause": "3"},
        floors={"etcd": _ETCD, "containerd": _CONTAINERD},
        refuses_cgroup_v1=True),
    "1.37": Minor(
        releases=("1.37.2",),
        beside={"etcd": "3.7.3", "containerd": "2.4.2", "cni-plugins": "1.9.1", "crictl": "1.37.0",
                "flannel": "0.28.10", "coredns": "1.15.0", "metrics-server": "0.9.0", "pause": "3"},
        floors={"etcd": _ETCD, "containerd": _CONTAINERD},
        refuses_cgroup_v1=True),
}
RELEASES: tuple[str, ...] = tuple(release for minor in MINORS.values() for release in minor.releases)


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, ordered as versions are; `3` and `v1.36.3-rc.1` have some too."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def minor_of(kubernetes: str) -> Minor:
    """Return the row of a release; KeyError if there is none of its minor."""
    return MINORS[".".join(kubernetes.split(".")[:2])]


def beside(kubernetes: str, component: str) -> str:
    """Return the version of `component` that goes with a release: Kubernetes' own programs have the same."""
    return kubernetes if component == "kubernetes" else minor_of(kubernetes).beside[component]


def takes(source: str, kubernetes: str) -> Mapping[str, Any]:
    """Return the table of what `source` takes beside this Kubernetes: flags, gates, fields, admission plugins.

    KeyError if its minor is not in the table, FileNotFoundError if the release is not one of RELEASES.
    """
    return taken_by(source, beside(kubernetes, source))


@cache
def taken_by(source: str, version: str) -> Mapping[str, Any]:
    """Return the table of what one version of `source` takes; FileNotFoundError where it was never asked."""
    table: dict[str, Any] = json.loads((_TAKES / f"{source}-{version}.json").read_text(encoding="utf-8"))
    return table


def elsewhere(source: str, kubernetes: str, has: Callable[[Mapping[str, Any]], bool]) -> str:
    """Say which other release takes what this one does not, `has` being asked of its table; nothing where none does."""
    at = RELEASES.index(kubernetes)
    before = [release for release in RELEASES[:at] if has(takes(source, release))]
    after = [release for release in RELEASES[at + 1:] if has(takes(source, release))]
    if before:
        return f"; it went after {beside(before[-1], source)}"
    return f"; it comes with {beside(after[0], source)}" if after else ""


def went(source: str, before: str, after: str) -> tuple[str, ...]:
    """Return what one version of `source` takes and a later one does not: `kubelet --flag`, `Type.field`."""
    old, new = set(_names(taken_by(source, before))), set(_names(taken_by(source, after)))
    return tuple(sorted(old - new))


def _names(table: Mapping[str, Any]) -> Iterator[str]:
    for program, flags in table.get("flags", {}).items():
        yield from (f"{program} --{flag}" for flag in flags)
    for type_, fields in table.get("fields", {}).items():
        yield from (f"{type_}.{field}" for field in fields)
    yield from (f"gate {name}" for name in table.get("gates", {}))
    yield from (f"admission plugin {name}" for name in table.get("admission", ()))
