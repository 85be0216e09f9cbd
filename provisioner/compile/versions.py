"""Which versions go with which, and which may stand beside which: pure rules, each fault with its rule's name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from provisioner.model.artifact import ArtifactLock

# The first version of each minor without the TLS handshake exhaustion GHSA-6vch-q96h-7gc3. 3.5 spells flags otherwise.
ETCD_FLOOR = {(3, 6): 14, (3, 7): 1}

KUBERNETES_BINARIES = (
    "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")


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


def lock_faults(kubernetes: str, lock: ArtifactLock) -> list[str]:
    """Return why this inventory and this artifacts.lock cannot make a cluster together."""
    wanted = Version.parse(kubernetes)
    faults: list[str] = []
    for artifact in lock.artifacts:
        if artifact.name in KUBERNETES_BINARIES and Version.parse(artifact.version) != wanted:
            faults.append(f"artifacts.lock: {artifact.name} is {artifact.version}, the inventory says {wanted}")
        if artifact.name == "etcd":
            faults += [f"artifacts.lock: {fault}" for fault in etcd_faults(Version.parse(artifact.version))]
    return faults


def etcd_faults(version: Version) -> list[str]:
    """Return why this etcd may not be run."""
    floor = ETCD_FLOOR.get((version.major, version.minor))
    if floor is None:
        minors = ", ".join(f"{major}.{minor}" for major, minor in ETCD_FLOOR)
        return [f"etcd {version} is not supported; supported are {minors}"]
    if version.patch < floor:
        return [f"etcd {version} is older than {version.major}.{version.minor}.{floor}"]
    return []


def upgrade_faults(current: Version, target: Version) -> list[str]:
    """Return why a cluster may not go from `current` to `target` in one go."""
    if target.minor < current.minor:
        return [f"no-downgrade: {current} to {target} goes back a minor"]
    if target.minor > current.minor + 1:
        return [f"one-minor-at-a-time: {current} to {target} skips 1.{current.minor + 1}"]
    return []


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


def node_skew_faults(kubelet: Version, proxy: Version) -> list[str]:
    """Return why this kube-proxy may not stand beside this kubelet."""
    if abs(kubelet.minor - proxy.minor) > 3:
        return [f"proxy-kubelet-skew: kube-proxy {proxy} is more than three minors from kubelet {kubelet}"]
    return []


def _range(rule: str, what: str, versions: Iterable[Version], lowest: int, highest: int) -> list[str]:
    """Return a fault for each version outside of 1.lowest to 1.highest."""
    faults = []
    for version in sorted(set(versions)):
        if version.minor > highest:
            faults.append(f"{rule}: {what} {version} is newer than 1.{highest}")
        if version.minor < lowest:
            faults.append(f"{rule}: {what} {version} is older than 1.{lowest}")
    return faults
