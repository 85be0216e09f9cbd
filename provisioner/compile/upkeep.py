"""What a node's services write into the kernel once, which others may flush: what must be there, and who sees to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from provisioner.compile import network, proxy
from provisioner.compile.context import HostContext, config_of
from provisioner.compile.parts import rendered, service
from provisioner.model.cluster import Cluster, Host
from provisioner.model.desired import Item

UNIT = "kubewright-network-watch.service"
PROGRAM = "/opt/kubewright/bin/watch-network"


class Rule(NamedTuple):
    """A chain of nftables that has a rule with these words as long as the unit serves."""

    unit: str
    chain: str
    has: str


def items(ctx: HostContext) -> Iterator[Item]:
    """Return what looks after the rules and routes of a node."""
    found, device = rules(ctx.cluster, ctx.host), overlay_device(ctx.cluster, ctx.host)
    if not found and not device:
        return
    yield rendered(PROGRAM, "network", mode=0o755, device=device, proxy=proxy.UNIT, flannel=network.UNIT,
                   proxy_rules=[r for r in found if r.unit == proxy.UNIT],
                   flannel_rules=[r for r in found if r.unit == network.UNIT])
    yield from service(UNIT, "network", [PROGRAM], program=PROGRAM)


def rules(cluster: Cluster, host: Host) -> tuple[Rule, ...]:
    """Return the rules that must be there; none for what the inventory has told to work without nftables."""
    found: list[Rule] = []
    if host.is_node and config_of(cluster, host, "kube-proxy").get("mode", "nftables") == "nftables":
        found += [Rule(proxy.UNIT, *rule) for rule in proxy.RULES]
    if _has_flannel(cluster, host) and config_of(cluster, host, "flannel").get("EnableNFTables", True):
        found += [Rule(network.UNIT, *rule) for rule in network.rules(cluster)]
    return tuple(found)


def overlay_device(cluster: Cluster, host: Host) -> str:
    """Return the device through which the Pods of all other nodes are reached; empty where there is not one for all."""
    backend = config_of(cluster, host, "flannel").get("Backend") or {}
    if not _has_flannel(cluster, host) or backend.get("Type", "vxlan") != "vxlan" or backend.get("DirectRouting"):
        return ""
    return f"flannel.{backend.get('VNI', 1)}"


def _has_flannel(cluster: Cluster, host: Host) -> bool:
    return host.is_node and cluster.network.plugin == "flannel"
