"""Is the place free: ports that others hold, clusters that others built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from provisioner.compile import pki
from provisioner.compile.etcd import DATA_DIR
from provisioner.model import managers
from provisioner.model.cluster import Cluster, Host
from provisioner.model.components import BY_NAME, VIP_HOLDERS, all_units, on_host, unit_packaged
from provisioner.model.inspection import Listener
from provisioner.operate.checks.finding import Found, HostSeen, Seen


class Use(NamedTuple):
    """A port that a unit of ours will listen on; `loopback` where nobody but the host itself reaches it."""

    port: int
    unit: str
    loopback: bool = False


# What a cluster leaves, whose it is, and how its own tool removes it. Files, not empty directories that a package
# brings. What is in OURS is left by our own runs as well, and says something only where we never were.
EVIDENCE: dict[str, tuple[str, str]] = {
    pki.CA: ("a Kubernetes cluster", "kubeadm reset"),
    "/etc/kubernetes/kubelet.conf": ("a node of a Kubernetes cluster", "kubeadm reset"),
    "/etc/kubernetes/manifests/kube-apiserver.yaml": ("a control plane made by kubeadm", "kubeadm reset"),
    f"{DATA_DIR}/member": ("the data of an etcd member", "move it away once nobody needs it"),
    "/var/lib/rancher/k3s": ("k3s", "k3s-uninstall.sh"),
    "/var/lib/rancher/rke2": ("RKE2", "rke2-uninstall.sh"),
    "/var/lib/k0s": ("k0s", "k0s reset"),
    "/var/snap/microk8s": ("MicroK8s", "snap remove --purge microk8s"),
    "/var/lib/minikube": ("minikube", "minikube delete"),
}

# Services of our names that packages bring: ours would take their place.
UNITS = tuple(unit for row, unit in all_units() if not unit_packaged(row, unit))
PACKAGED = {f"{place}/systemd/system/{unit}": unit for unit in UNITS for place in ("/usr/lib", "/lib")}
# What else runs containers: it may stay, and is better known about.
RUNTIMES = {"/usr/bin/dockerd": "Docker", "/usr/bin/podman": "Podman", "/usr/bin/crio": "CRI-O"}
# Files that packages or people bring too; asked about where there is no plan that names all of ours.
FILES = ("/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf", "/etc/containerd/config.toml",
         "/etc/crictl.yaml", *(f"/etc/systemd/system/{unit}" for unit in UNITS))
PATHS = (*EVIDENCE, *PACKAGED, *RUNTIMES)

OURS = frozenset({pki.CA, "/etc/kubernetes/kubelet.conf", f"{DATA_DIR}/member"})


def uses(cluster: Cluster, host: Host) -> tuple[Use, ...]:
    """Return the ports that this host's roles need."""
    found = [Use(port.number, row.units[0], port.loopback) for row in on_host(cluster, host) for port in row.ports]
    if VIP_HOLDERS.holds(cluster, host):
        found.append(Use(cluster.api.port, BY_NAME["haproxy"].units[0]))
    return tuple(found)


def ports_to_ask(cluster: Cluster) -> tuple[int, ...]:
    """Return every port that some host of the cluster needs."""
    return tuple(sorted({use.port for host in cluster.machines for use in uses(cluster, host)}))


def ports_free(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that nobody else listens where a unit of ours will."""
    for use in uses(seen.cluster, host.host):
        needs = use.unit.removesuffix(".service")
        listener = next((listener for listener in host.told.listeners if listener.port == use.port
                         and _in_the_way(listener, use) and not _ours(listener, use, host.told.prepared)), None)
        if listener is not None:
            yield Found("error", f"port {use.port}, which {needs} needs, is in use by {listener}",
                        _stop(host, listener))


def _in_the_way(listener: Listener, use: Use) -> bool:
    """Say whether both cannot listen: one on loopback leaves the other addresses free."""
    return listener.is_wide or listener.is_loopback or not use.loopback


def _ours(listener: Listener, use: Use, prepared: bool) -> bool:
    """A unit of our name on a host where we never were is a package's or another cluster's."""
    return prepared and listener.unit == use.unit


def _stop(host: HostSeen, listener: Listener) -> str:
    if listener.unit.endswith(".service"):
        return f"on {host.name}: systemctl disable --now {listener.unit}"
    return f"on {host.name}: kill {listener.pid}" if listener.pid else f"on {host.name}: ss -ltnp"


def no_other_cluster(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Refuse a host on which another cluster lives, ours or not; nothing of it is ever touched."""
    if host.foreign:
        yield Found("error", *host.foreign)
        return
    there = [path for path in EVIDENCE if path in host.told.there and not (host.told.prepared and path in OURS)]
    if there:
        whose, cure = EVIDENCE[there[0]]
        yield Found("error", f"{whose} is there ({', '.join(there)}); it is left alone",
                    f"take another machine, or on {host.name}, if nobody needs it any more: {cure}")


def services(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that no package brings a service of one of our names; name what else runs containers there."""
    there = host.told.there
    found = {unit: path for path, unit in reversed(PACKAGED.items()) if path in there}
    for unit, path in found.items():
        yield Found("warning" if host.told.prepared else "error",
                    f"a package has a {unit} of its own ({path}); ours takes its place",
                    f"on {host.name}: {managers.of_facts(host.facts).owner} {path}    # remove that package if nobody "
                    "needs it, or take another machine")
    for path, name in RUNTIMES.items() if host.host.is_node else ():
        if path in there:
            yield Found("warning", f"{name} is there ({path}); it stays, and its containers are none of the cluster's",
                        f"on {host.name}: remove {name} if nobody needs it")


def files(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that no file is somebody's where ours would be written; one as its package brought it is nobody's.

    A unit that is masked is a link there: that is told by the check `systemd`, with how to take it away.
    """
    masked = {f"/etc/systemd/system/{unit}" for unit in host.told.units.masked}
    for path, whose in host.told.others.items():
        if path in masked:
            continue
        yield Found("error", f"{path} is not ours: {whose}; it is not overwritten",
                    f"on {host.name}: mv {path} {path}.before    # if nobody needs it; `up --skip files` overwrites "
                    "it, and the host keeps what was there")
