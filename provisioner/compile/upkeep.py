"""What a node's services write into the kernel once, which others may flush: what must be there, and who sees to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from provisioner.compile import networks, proxy
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
    pods = networks.of(ctx.cluster)
    found, device = rules(ctx.cluster, ctx.host), pods.device(ctx.cluster, ctx.host)
    if not found and not device:
        return
    yield rendered(PROGRAM, "network", component="network-watch", mode=0o755, device=device, proxy=proxy.UNIT,
                   network=pods.unit, proxy_rules=[r for r in found if r.unit == proxy.UNIT],
                   network_rules=[r for r in found if r.unit == pods.unit])
    yield from service(UNIT, "network", [PROGRAM], component="network-watch", program=PROGRAM)


def rules(cluster: Cluster, host: Host) -> tuple[Rule, ...]:
    """Return the rules that must be there; none for what the inventory has told to work without nftables."""
    found: list[Rule] = []
    if host.is_node and config_of(cluster, host, "kube-proxy").get("mode", "nftables") == "nftables":
        found += [Rule(proxy.UNIT, *rule) for rule in proxy.rules(cluster)]
    pods = networks.of(cluster)
    return (*found, *(Rule(pods.unit, *rule) for rule in pods.rules(cluster, host)))
