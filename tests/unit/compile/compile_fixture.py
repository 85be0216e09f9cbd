"""A cluster to compile: the lab's inventory with made-up facts, digests and PEM texts, all fixed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import yaml

from provisioner.compile.cluster import compile_cluster
from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Desired
from provisioner.model.facts import Facts, Interface
from provisioner.model.outside import login_name
from provisioner.model.releases import minor_of
from provisioner.model.secret import SecretRef
from provisioner.model.trial import Trial

LAB = """
version: 1
cluster: lab
lab: true
kubernetes: "1.36.3"
network:
  hosts: [10.77.0.0/24]
  pods: [10.244.0.0/16]
  services: [10.96.0.0/16]
  plugin: flannel
api: {vip: 10.77.0.10, port: 8443}
ssh: {user: admin, become: sudo}
config:
  kubelet: {failCgroupV1: false}
  kube-proxy: {conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
  coredns: {upstreams: []}
hosts:
  cp1: {address: 10.77.0.11, roles: [etcd, control-plane, load-balancer]}
  cp2: {address: 10.77.0.12, roles: [etcd, control-plane, load-balancer]}
  cp3: {address: 10.77.0.13, roles: [etcd, control-plane, load-balancer]}
  w1: {address: 10.77.0.21, roles: [worker]}
  w2: {address: 10.77.0.22, roles: [worker]}
"""

COMPONENTS = {
    "kubernetes": ("1.36.3", ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy",
                              "kubectl")),
    "etcd": ("3.6.16", ("etcd", "etcdctl", "etcdutl")),
    "containerd": ("2.4.2", ("containerd", "containerd-shim-runc-v2", "ctr")),
    "cni-plugins": ("1.9.1", ("ptp", "host-local", "loopback", "portmap", "bridge")),
    "flannel": ("0.28.10", ("flanneld",)),
    "cri-tools": ("1.37.0", ("crictl",)),
    "coredns": ("1.15.0", ("coredns.tar",)),
    "metrics-server": ("0.9.0", ("metrics-server.tar",)),
    "pause": ("3", ("pause.tar",)),
    "busybox": ("1", ("busybox.tar",)),
}

SECRET_BYTES = {
    "ca.key": "KEY OF THE CLUSTER CA", "sa.key": "KEY THAT SIGNS TOKENS", "encryption-config": "KEY AT REST"}


def inventory(text: str = LAB, **changes: Any) -> Cluster:
    """Return the inventory with top-level fields replaced."""
    return Cluster.model_validate(yaml.safe_load(text) | changes)


def facts_of(cluster: Cluster, **changes: Any) -> dict[str, Facts]:
    """Return facts for every host: a Debian 12 node of the lab, whose address is on host0."""
    return {host.name: facts(host.name, *host.addresses, **changes) for host in cluster.machines}


def facts(name: str, address: str, *more: str, **changes: Any) -> Facts:
    values: dict[str, Any] = {
        "hostname": name, "machine_id": name * 2, "boot_id": name * 3, "os_id": "debian", "os_version": "12",
        "arch": "amd64", "kernel": "6.18.0", "python": "3.11.2", "cpus": 2, "memory_mib": 24000,
        "cgroup": "v1", "cap_sys_resource": False, "epoch": 0.0,
        "interfaces": (Interface("lo", ("127.0.0.1/8",), 65536),
                       Interface("host0", (f"{address}/24", *(f"{other}/64" for other in more)), 1500))}
    return Facts(**(values | changes))


def lock(arch: str = "amd64", **versions: str) -> ArtifactLock:
    """Return a lock with every artifact, digests made from their names and from what is not amd64."""
    rows, beside = [], "" if arch == "amd64" else arch
    for component, (version, names) in COMPONENTS.items():
        for name in names:
            image = f"kubewright.local/{component}:{version}" if name.endswith(".tar") else ""
            rows.append(LockedArtifact(
                name=name, component=component, version=versions.get(component, version), arch=arch,
                kind="image" if image else "binary", source="go", image=image, size=1000 + len(name),
                sha256=hashlib.sha256(f"{name}{beside}".encode()).hexdigest()))
    return ArtifactLock(tuple(rows))


def pem(name: str) -> str:
    body = base64.b64encode(f"certificate of {name}".encode()).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


PUBLIC = {name: pem(name) for name in ("ca.crt", "etcd-ca.crt", "front-proxy-ca.crt", "sa.pub")}
SECRETS = {name: SecretRef(name, "aa" * 16, hashlib.sha256(text.encode()).hexdigest())
           for name, text in SECRET_BYTES.items()}


def compiled(
        cluster: Cluster | None = None, facts: Mapping[str, Facts] | None = None, *, trial: Trial | None = None,
) -> Desired:
    """Return the fixture's cluster, or another one with the fixture's lock and secrets, compiled."""
    cluster = cluster or inventory()
    logins = {login_name(name): SecretRef(login_name(name), "bb" * 16, hashlib.sha256(name.encode()).hexdigest())
              for name, registry in cluster.registries.items() if registry.login}
    return compile_cluster(cluster, facts if facts is not None else facts_of(cluster), lock_beside(cluster.kubernetes),
                           SECRETS | logins, PUBLIC, trial=trial)


def lock_beside(kubernetes: str) -> ArtifactLock:
    """Return a lock with this release and what goes with it."""
    return lock(kubernetes=kubernetes, **minor_of(kubernetes).beside)
