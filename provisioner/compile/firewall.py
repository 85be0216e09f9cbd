"""A firewall that is on a host already: what must get through it, and, where we may, the unit that sees to it."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.applier.firewall import VRRP
from provisioner.applier.network import OURS
from provisioner.compile import networks
from provisioner.compile.context import HostContext
from provisioner.compile.parts import rendered, service
from provisioner.model import ports
from provisioner.model.cluster import Cluster, Host, Role
from provisioner.model.desired import Item

UNIT = "kubewright-firewall.service"
PROGRAM = "/opt/kubewright/bin/open-firewall"
FIREWALLD = "firewalld"         # its tables are its own: what it lets in, it must be told by its own program
Packet = tuple[str, int]        # a protocol, and a port, 0 where it has none


def items(ctx: HostContext) -> Iterator[Item]:
    """Return what opens the firewall of a host, before anything of ours speaks with others."""
    if not ctx.is_used or ctx.cluster.firewall != "ours":
        return
    pods = [str(network) for network in ctx.cluster.network.pods]
    hosts = [str(network) for network in ctx.cluster.network.hosts]
    yield rendered(PROGRAM, "runtime", component="firewall", mode=0o755, ours=[*OURS, FIREWALLD], pods=pods,
                   packets=opened(ctx.cluster, ctx.host), known=[*hosts, *pods])
    yield from service(UNIT, "runtime", [PROGRAM], component="firewall", program=PROGRAM)


def needed(cluster: Cluster, host: Host) -> tuple[Packet, ...]:
    """Return what the other hosts send to this one, without which a part of the cluster does not work."""
    others = len(cluster.hosts) > 1
    etcd, balancers = {h.name for h in cluster.etcd_hosts}, {h.name for h in cluster.vip_holders}
    vrrp = ((VRRP, 0),) if host.name in balancers and len(balancers) > 1 else ()
    peer = (("tcp", ports.ETCD_PEER),) if host.name in etcd and len(etcd) > 1 else ()
    api = (("tcp", ports.APISERVER),) if others and Role.CONTROL_PLANE in host.roles else ()
    kubelet = (("tcp", ports.KUBELET),) if others and host.is_node else ()
    pods = networks.of(cluster).packets(cluster) if len(cluster.nodes) > 1 and host.is_node else {}
    return (*vrrp, *peer, *api, *kubelet, *pods)


def opened(cluster: Cluster, host: Host) -> tuple[Packet, ...]:
    """Return what a host's firewall is told to let in: what is needed, and what hosts and Pods may use besides."""
    client = (("tcp", ports.ETCD_CLIENT),) if host.name in {h.name for h in cluster.etcd_hosts} else ()
    vip = (("tcp", cluster.api.port),) if host.name in {h.name for h in cluster.vip_holders} else ()
    api = (("tcp", ports.APISERVER),) if Role.CONTROL_PLANE in host.roles else ()
    kubelet = (("tcp", ports.KUBELET),) if host.is_node else ()
    return tuple(dict.fromkeys((*needed(cluster, host), *client, *vip, *api, *kubelet)))
