"""Which versions go with which, and which may stand beside which: pure rules, each fault with its rule's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from provisioner.model.artifact import ArtifactLock
from provisioner.model.components import NODES, TABLE
from provisioner.model.releases import minor_of

NODE_BINARIES = tuple(row.name for row in TABLE if row.source == "kubernetes" and row.place is NODES)
KUBERNETES_BINARIES = (*(row.name for row in TABLE if row.source == "kubernetes"), "kubectl")


class Version(NamedTuple):
    """A release, ordered as numbers are."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """Return the version in `1.36.3` or `v1.36.3`; ValueError for anything else."""
        major, minor, patch = text.removeprefix("v").split(".")
        return cls(int(major), int(minor), int(patch))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class Kubernetes(NamedTuple):
    """The two versions of Kubernetes in a cluster: one, but while a hop of an upgrade leaves its nodes behind."""

    control_plane: Version
    nodes: Version

    @classmethod
    def of(cls, control_plane: str, nodes: str = "") -> Kubernetes:
        """Return both; nodes have the control plane's where nothing is said. ValueError for what is no version."""
        return cls(Version.parse(control_plane), Version.parse(nodes or control_plane))

    def of_binary(self, name: str) -> Version:
        """Return the version that one of KUBERNETES_BINARIES has to have."""
        return self.nodes if name in NODE_BINARIES else self.control_plane


def lock_faults(wanted: Kubernetes, lock: ArtifactLock) -> list[str]:
    """Return why these versions and this artifacts.lock cannot make a cluster together."""
    control_plane, nodes = wanted
    faults = [*skew_faults([control_plane], kubelets=[nodes], proxies=[nodes])]
    floors = minor_of(str(control_plane)).floors
    for artifact in lock.artifacts:
        if artifact.name in KUBERNETES_BINARIES:
            want = wanted.of_binary(artifact.name)
            says = "the inventory says" if want == control_plane else "nodes stay at"
            if Version.parse(artifact.version) != want:
                faults.append(f"artifacts.lock: {artifact.name} is {artifact.version}, {says} {want}")
        elif artifact.name in floors:
            fault = floor_fault(artifact.name, artifact.version, floors[artifact.name])
            faults += [f"artifacts.lock: {fault}"] if fault else []
    return faults


def held_back(lock: ArtifactLock, runs: ArtifactLock) -> ArtifactLock:
    """Return `lock` with the programs of nodes as they are in `runs`: what a hop that leaves nodes behind is made from.

    So a lock holds one version of a file for each architecture, always; hops have locks of their own.
    """
    kept = tuple(artifact for artifact in runs.artifacts if artifact.name in NODE_BINARIES)
    return ArtifactLock((*(a for a in lock.artifacts if a.name not in NODE_BINARIES), *kept))


def floor_fault(component: str, version: str, floors: Mapping[str, str]) -> str:
    """Return why this version of a component may not be run, by the oldest of each line of versions; else nothing."""
    for line, oldest in floors.items():
        if version.startswith(f"{line}."):
            older = Version.parse(version) < Version.parse(oldest)
            return f"{component} {version} is older than {oldest}" if older else ""
    return f"{component} {version} is not supported; supported are {', '.join(floors)}"


def skew_faults(
        apiservers: Iterable[Version], *, controllers: Iterable[Version] = (), kubelets: Iterable[Version] = (),
        proxies: Iterable[Version] = (), kubectl: Iterable[Version] = ()) -> list[str]:
    """Return which rule of the Kubernetes version skew policy this mixture breaks; none for a legal one."""
    minors = sorted({version.minor for version in apiservers})
    if not minors:
        return []
    oldest, newest = minors[0], minors[-1]
    faults = []
    if newest - oldest > 1:
        faults.append(f"apiserver-skew: API servers of 1.{oldest} and 1.{newest} are more than one minor apart")
    faults += _range("controller-skew", "controller", controllers, newest - 1, oldest)
    faults += _range("kubelet-skew", "kubelet", kubelets, newest - 3, oldest)
    faults += _range("proxy-skew", "kube-proxy", proxies, newest - 3, oldest)
    faults += _range("kubectl-skew", "kubectl", kubectl, newest - 1, oldest + 1)
    return faults


def _range(rule: str, what: str, versions: Iterable[Version], lowest: int, highest: int) -> list[str]:
    """Return a fault for each version outside of 1.lowest to 1.highest."""
    faults = []
    for version in sorted(set(versions)):
        if version.minor > highest:
            faults.append(f"{rule}: {what} {version} is newer than 1.{highest}")
        if version.minor < lowest:
            faults.append(f"{rule}: {what} {version} is older than 1.{lowest}")
    return faults
