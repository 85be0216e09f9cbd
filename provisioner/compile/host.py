"""One host: the visible list of its parts, and the order in which their items are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from provisioner.compile import (
    control_plane,
    controllers,
    etcd,
    kubelet,
    load_balancer,
    network,
    pki,
    proxy,
    runtime,
    system,
    upkeep,
)
from provisioner.compile.context import HostContext
from provisioner.model.desired import HostDesired, Item

PHASES = (
    "prepare",        # packages, users, kernel settings
    "stage",          # binaries and images under /opt/kubewright
    "pki",            # certificates, keys, kubeconfigs
    "runtime",        # containerd, images, the stamp program
    "etcd",
    "load-balancer",  # haproxy on every host, keepalived where the VIP may be
    "control-plane",  # kube-apiserver
    "controllers",    # kube-controller-manager, kube-scheduler
    "access",         # objects: who may do what
    "node",           # kubelet, kube-proxy
    "network",        # flannel, and what looks after the rules and routes
    "addons",         # objects: CoreDNS, metrics-server
    "verify",
)

PARTS: tuple[Callable[[HostContext], Iterable[Item]], ...] = (
    system.items,
    pki.items,
    runtime.items,
    etcd.items,
    load_balancer.items,
    control_plane.items,
    controllers.items,
    kubelet.items,
    proxy.items,
    network.items,
    upkeep.items,
)

_ORDER = {phase: number for number, phase in enumerate(PHASES)}


def compile_host(ctx: HostContext) -> HostDesired:
    """Return everything `ctx.host` should be, phase by phase, the units of a phase after all its files."""
    items = [item for part in PARTS for item in part(ctx)]
    items.sort(key=lambda item: (_ORDER[item.phase], item.kind == "unit"))  # stable: a part's own order stays
    return HostDesired(name=ctx.name, items=tuple(items))
