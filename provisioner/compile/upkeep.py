"""What a node's services write into the kernel once, which others may flush: what must be there, and who sees to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from provisioner.compile import networks, proxy
from provisioner.compile.context import HostContext
from provisioner.compile.parts import rendered, service
from provisioner.model.cluster import Cluster, Host
from provisioner.model.desired import Item
from provisioner.model.families import System

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
    found, device = rules(ctx.cluster, ctx.host, ctx.system), pods.device(ctx.cluster, ctx.host)
    if not found and not device:
        return
    yield rendered(PROGRAM, "network", component="network-watch", mode=0o755, device=device, proxy=proxy.UNIT,
                   network=pods.unit, proxy_rules=[r for r in found if r.unit == proxy.UNIT],
                   network_rules=[r for r in found if r.unit == pods.unit])
    yield from service(UNIT, "network", [PROGRAM], component="network-watch", program=PROGRAM)


def rules(cluster: Cluster, host: Host, system: System) -> tuple[Rule, ...]:
    """Return the rules that must be there; none where the services look after theirs themselves."""
    pods = networks.of(cluster)
    found = proxy.rules(cluster, system) if host.is_node else ()
    return (*(Rule(proxy.UNIT, *rule) for rule in found),
            *(Rule(pods.unit, *rule) for rule in pods.rules(cluster, host, system)))
