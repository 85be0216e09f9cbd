"""From findings to what is told: each with its meaning, consequences under their cause, most urgent first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.model.cures import cures
from provisioner.model.finding import Finding
from provisioner.operate.doctor.table import STATUS, URGENCIES, Urgency, rank, row_of, unit_of

# Of a host on which the unit does not run, what it brings about there: by the check, or by how what was seen begins.
_FOLLOWS: dict[str, tuple[str, ...]] = {
    "etcd": ("etcd", "etcd-reads", "backend", "API", "etcd /readyz", "kube-apiserver"),
    "kube-apiserver": ("backend", "API", "kube-apiserver"),
    "kubelet": ("nodes", "kubelet"),
    "containerd": ("nodes", "pods", "kubelet"),
    "haproxy": ("haproxy", "no-server", "kube-apiserver through haproxy", "API at the VIP"),
    "flanneld": ("Pod network", "packet rules of flannel", "pod-dns", "pod-service"),
    "kube-proxy": ("Service address", "cluster DNS", "packet rules of kube-proxy", "pod-dns", "pod-service"),
}
_FOLLOWS_CHECK: dict[str, tuple[str, ...]] = {
    "reach": ("etcd", "nodes", "backend", "no-server", "haproxy"),
    "etcd": ("etcd-reads", "backend", "API", "etcd /readyz", "kube-apiserver"),
    "api-server": ("backend", "kube-apiserver"),
    "rules": ("Service address", "cluster DNS", "pod-dns", "pod-service"),
    "pod-loop": ("addons",),
    "nodes": ("system-pods",),
    "etcd-alarms": ("writes", "leaders"),
    "etcd-majority": ("etcd", "etcd-reads", "etcd-lag", "writes", "api", "leaders", "API", "etcd /readyz", "backend",
                      "no-server", "kube-apiserver", "Service address"),
}
COUNTED = "members answer"      # what `status` finds beside the members that do not: said in the margin already
NOT_TRIED = ": not tried"       # a host gives up its round of probes where a unit does not stay up
_LOOPS = ("restart-loop", "unit-failed")


@dataclass(frozen=True)
class Told:
    """A finding with how urgent it is, what it means for users now, and what to type; `also` is what follows from it.
    """

    finding: Finding
    urgency: Urgency
    means: str
    cure: str
    also: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"urgency": self.urgency, **self.finding.to_json(), "means": self.means, "cure": self.cure,
                "also": [f.to_json() for f in self.also]}


@dataclass(frozen=True)
class Diagnosis:
    """What ails the cluster, most urgent first, and what was not looked at.

    `unseen` are questions that could not be asked: those that nothing can be done about (a container does not see the
    kernel's messages) do not make a cluster ill, a host that does not answer does.
    """

    told: tuple[Told, ...]
    unseen: tuple[Finding, ...] = ()

    @property
    def healthy(self) -> bool:
        return all(one.finding.severity == "warning" for one in self.told)


def diagnose(findings: Iterable[Finding], words: Mapping[str, str]) -> Diagnosis:
    """Order what was found, and put what follows from another finding under that; `words` are what rows may name."""
    every = sorted(dict.fromkeys(findings), key=rank)
    unseen = tuple(f for f in every if _is_by_nature(f))
    left = [f for f in every if f not in unseen]
    causes = {effect: cause for effect in left if (cause := _cause(effect, left))}
    roots = [f for f in left if f not in causes]
    also: dict[Finding, list[Finding]] = {}
    for effect in (f for f in left if f in causes):
        also.setdefault(_root(effect, causes), []).append(effect)
    told = [_told(root, also.get(root, ()), words) for root in roots]
    return Diagnosis(tuple(sorted(told, key=lambda one: URGENCIES.index(one.urgency))), unseen)


def _cause(effect: Finding, findings: Sequence[Finding]) -> Finding | None:
    """Return the finding that is the reason of another: one of the same host before one of the whole cluster."""
    found = [one for one in findings if one is not effect and explains(one, effect)]
    return min(found, key=lambda one: one.host != effect.host, default=None)


def _is_by_nature(finding: Finding) -> bool:
    """Say whether it only tells that something cannot be looked at there, ever."""
    return finding.severity == "unseen" and finding.check in ("kernel", "pod-network", "etcd-elections")


def _root(effect: Finding, causes: dict[Finding, Finding]) -> Finding:
    seen = [effect]
    while seen[-1] in causes and causes[seen[-1]] not in seen:
        seen.append(causes[seen[-1]])
    return seen[-1]


def explains(cause: Finding, effect: Finding) -> bool:
    """Say whether one finding is the reason of another: a unit of the same host that is down, a host that is silent."""
    if effect.check == "etcd" and not effect.host and COUNTED in effect.saw:
        return cause.check == "etcd-majority" or (cause.check == "etcd" and bool(cause.host))
    if cause.check in ("etcd-majority", "etcd-alarms"):      # of the whole cluster, whichever member tells it
        return _matches(_FOLLOWS_CHECK[cause.check], effect)
    if cause.host != effect.host or not cause.host:
        return False
    names = _FOLLOWS.get(unit_of(cause), ()) if cause.check == "units" else ()
    names += _FOLLOWS_CHECK.get(row_of(cause).name, ()) or _FOLLOWS_CHECK.get(cause.check, ())
    if cause.code in _LOOPS and effect.check in ("units", "probes"):     # the same unit told twice, or what it ended
        return effect.saw.endswith(NOT_TRIED) or unit_of(cause) == unit_of(effect)
    if effect.check == "units":
        return False
    return _matches(names, effect)


def _matches(names: Iterable[str], effect: Finding) -> bool:
    return any(effect.check == name or effect.code == name or (
        effect.check == "probes" and effect.saw.startswith(name)) for name in names)


def _told(finding: Finding, also: Sequence[Finding], named: Mapping[str, str]) -> Told:
    """Give a finding its meaning; a unit that brings about something more urgent is as urgent as that."""
    row = row_of(finding)
    follows = [row_of(f).urgency for f in also] if finding.check == "units" else []
    urgency = min([row.urgency, *follows], key=URGENCIES.index)
    cure = finding.cure or row.cure.format(**{**named, "host": finding.host or named.get("server", "HOST")}) or STATUS
    if finding.check == "units" and row.cure not in (cure, ""):
        cure = f"{cure}; {row.cure}"
    return Told(finding, urgency, row.means.format(**{**named, "host": finding.host or "every host"}), cure,
                tuple(also))


@dataclass(frozen=True)
class Group:
    """What is told once of all hosts of which exactly the same is so, with what to type on each."""

    one: Told
    hosts: tuple[str, ...]
    cures: tuple[str, ...]


def grouped(told: Iterable[Told]) -> list[Group]:
    """Return what is told, that of many hosts together; the order stays. What brings about something is told alone."""
    groups: dict[tuple[str, str, str, str], list[Told]] = {}
    for one in told:
        finding = one.finding
        key = (finding.check, finding.severity, finding.saw, finding.host if one.also else "")
        groups.setdefault(key, []).append(one)
    return [Group(of[0], tuple(one.finding.host for one in of if one.finding.host),
                  cures((one.finding.host, one.cure) for one in of)) for of in groups.values()]


def without_host(text: str, host: str, hosts: Sequence[str]) -> str:
    """Return a sentence about one host as one about all of them."""
    return re.sub(rf"\b{re.escape(host)}\b", ", ".join(hosts), text) if host and len(hosts) > 1 else text


