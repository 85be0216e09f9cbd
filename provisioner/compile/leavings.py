"""What a unit's running leaves on its host beside our files: a row each, taken away when the unit is ours no more."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner.compile import (
    control_plane,
    etcd,
    firewall,
    load_balancer,
    networks,
    proxy,
    selinux,
    snapshots,
    upkeep,
)
from provisioner.compile.parts import Leaving

# What a unit of an OS package leaves was not there before the package came.
TABLE: Mapping[str, tuple[Leaving, ...]] = {
    # The snapshots that a timer took outlive it: they are data, and go with the member alone.
    etcd.UNIT: (Leaving("data", etcd.DATA_DIR), Leaving("data", snapshots.PLACE)),
    "kube-apiserver.service": (Leaving("data", control_plane.AUDIT_DIR),),
    "haproxy.service": tuple(Leaving("data", path) for path in (
        "/run/haproxy", "/run/haproxy.pid", "/run/haproxy-master.sock", "/var/lib/haproxy")),
    load_balancer.KEEPALIVED: (Leaving("nft", load_balancer.HANDOVER),),     # of a turn that did not come to its end
    "containerd.service": (
        Leaving("processes", "containerd.service"),     # the shims outlive it
        Leaving("netns", "cni-"),
        Leaving("nft", "inet cni_hostport"),            # portmap's, and by iptables:
        Leaving("chains", "CNI-"),
        *(Leaving("data", path) for path in (
            "/var/lib/containerd", "/run/containerd", "/opt/containerd", "/var/lib/cni", "/run/cni-ipam-state",
            "/run/nri", "/run/runc")),
    ),
    "kubelet.service": (
        Leaving("processes", "kubepods.slice"),
        *(Leaving("data", path) for path in (
            "/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/usr/libexec/kubernetes")),
    ),
    proxy.UNIT: (
        *(Leaving("nft", f"{family} kube-proxy") for family in ("ip", "ip6")),
        Leaving("chains", "KUBE-"),                     # the kubelet has some too
        *(Leaving("sysctl", f"net.netfilter.nf_conntrack_{name}") for name in (
            "max", "tcp_be_liberal", "tcp_timeout_established", "tcp_timeout_close_wait")),
        Leaving("sysctl", "net.ipv4.conf.all.route_localnet"),
    ),
    firewall.UNIT: tuple(Leaving("chains", begin) for begin in ("KUBEWRIGHT-", "kubewright-")),
    upkeep.UNIT: (Leaving("data", "/run/kubewright-network-watch"),),
    selinux.UNIT: (Leaving("selinux-module", selinux.MODULE),),
    **{network.unit: network.leaves for network in networks.TABLE.values() if network.leaves},
}


def requests() -> dict[str, list[dict[str, str]]]:
    """Return the table as the applier takes it."""
    return {unit: of_unit(unit) for unit in TABLE}


def of_unit(unit: str) -> list[dict[str, str]]:
    """Return what one unit leaves, as the applier takes it."""
    return [leaving._asdict() for leaving in TABLE.get(unit, ())]
