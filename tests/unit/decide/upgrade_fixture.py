"""Eight releases with what goes with each, a cluster that runs them, and the policy once more, by arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from provisioner.compile.versions import Version
from provisioner.decide.skew import Place, Runs, State
from provisioner.model.releases import Minor

RELEASES = ("1.33.6", "1.34.4", "1.35.1", "1.35.4", "1.36.1", "1.36.3", "1.37.2", "1.38.0")
_BASE = Minor(releases=(), beside={}, floors={}, refuses_cgroup_v1=True)
_LINES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "1.33": ("3.5.35", {"3.5": "3.5.33"}),
    "1.34": ("3.6.14", {"3.5": "3.5.33", "3.6": "3.6.9"}),
    "1.35": ("3.6.15", {"3.6": "3.6.9"}),
    "1.36": ("3.6.16", {"3.6": "3.6.9", "3.7": "3.7.1"}),
    "1.37": ("3.7.3", {"3.6": "3.6.14", "3.7": "3.7.1"}),
    "1.38": ("3.7.3", {"3.7": "3.7.1"}),
}
MINORS: Mapping[str, Minor] = {
    name: replace(_BASE, releases=tuple(r for r in RELEASES if r.startswith(f"{name}.")),
                  beside={"etcd": etcd, "containerd": "2.4.2" if name > "1.36" else "2.3.7"},
                  floors={"etcd": floors, "containerd": {"2": "2.0.0"}})
    for name, (etcd, floors) in _LINES.items()}

CONTROL_PLANES, WORKERS = ("cp1", "cp2", "cp3"), ("w1", "w2")
NODES = (*CONTROL_PLANES, *WORKERS)
KUBERNETES = ("kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
HOSTS = {name: CONTROL_PLANES for name in ("etcd", *KUBERNETES[:4])} | {
    name: NODES for name in ("containerd", "kubelet", "kube-proxy", "flannel")}


def versions(kubernetes: str, **others: str) -> dict[str, Version]:
    """Return component -> version of a cluster of this release, with what goes with it; `others` by name, `_` for -."""
    row = MINORS[kubernetes.rpartition(".")[0]]
    named = dict.fromkeys(KUBERNETES, kubernetes) | {
        "etcd": row.beside["etcd"], "containerd": row.beside["containerd"], "flannel": "0.28.10", "coredns": "1.15.0",
        "metrics-server": "0.9.0"}
    return {name: Version.parse(v) for name, v in (named | {n.replace("_", "-"): v for n, v in others.items()}).items()}


def runs(of: Mapping[str, Version]) -> State:
    """Return three control planes and two workers that run these versions."""
    placed = {Place(name, host): Runs(of[name]) for name, hosts in HOSTS.items() for host in hosts}
    return placed | {Place(name): Runs(of[name]) for name in ("coredns", "metrics-server")}


def policy_breaks(state: State) -> Iterator[str]:
    """Yield what the published policies forbid in a state: said again, so that the product is not its own judge."""
    minors = {name: [r.version.minor for p, r in state.items() if p.component == name] for name in HOSTS}
    acts = {name: [r.acts_as.minor for p, r in state.items() if p.component == name] for name in HOSTS}
    low, high = min(acts["kube-apiserver"]), max(minors["kube-apiserver"])
    if high - low > 1:
        yield "apiserver-skew"
    for name in ("kube-controller-manager", "kube-scheduler"):
        if max(acts[name]) > low or min(acts[name]) < high - 1:
            yield "controller-skew"
    for name, rule in (("kubelet", "kubelet-skew"), ("kube-proxy", "proxy-skew")):
        if max(minors[name]) > low or min(minors[name]) < high - 3:
            yield rule
    if min(minors["kubectl"]) < high - 1 or max(minors["kubectl"]) > low + 1:
        yield "kubectl-skew"
    if max(minors["etcd"]) - min(minors["etcd"]) > 1:
        yield "etcd-skew"
    for server in (f"1.{minor}" for minor in set(minors["kube-apiserver"])):
        if any(f"3.{minor}" not in _LINES[server][1] for minor in minors["etcd"]):
            yield "etcd-unsupported"
