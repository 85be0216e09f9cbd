"""One host: the visible list of its parts, and the order in which their items are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from provisioner.compile import (
    control_plane,
    controllers,
    etcd,
    firewall,
    kubelet,
    load_balancer,
    networks,
    pki,
    proxy,
    registries,
    runtime,
    selinux,
    snapshots,
    surroundings,
    system,
    upkeep,
)
from provisioner.compile.context import HostContext
from provisioner.model.desired import HostDesired, Item
from provisioner.model.phases import PHASES


def _pod_network(ctx: HostContext) -> Iterable[Item]:
    return networks.of(ctx.cluster).items(ctx)


PARTS: tuple[Callable[[HostContext], Iterable[Item]], ...] = (
    system.items,
    pki.items,
    selinux.items,
    surroundings.items,
    runtime.items,
    registries.items,
    firewall.items,
    etcd.items,
    snapshots.items,
    load_balancer.items,
    control_plane.items,
    controllers.items,
    kubelet.items,
    proxy.items,
    _pod_network,
    upkeep.items,
)

_ORDER = {phase: number for number, phase in enumerate(PHASES)}


def compile_host(ctx: HostContext) -> HostDesired:
    """Return everything `ctx.host` should be, phase by phase, the units of a phase after all its files."""
    items = [item for part in PARTS for item in part(ctx)]
    items.sort(key=lambda item: (_ORDER[item.phase], item.kind == "unit"))  # stable: a part's own order stays
    return HostDesired(name=ctx.name, items=tuple(items))
