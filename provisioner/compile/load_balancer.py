"""HAProxy before the API servers, on every host for itself, and the VIP that keepalived moves between some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from provisioner.compile import pki
from provisioner.compile.context import HostContext
from provisioner.compile.parts import directories, distribution_service, rendered
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Item
from provisioner.model.endpoint import Endpoint
from provisioner.model.ports import APISERVER, BALANCER_HEALTH, LOCAL_API

HAPROXY_CONFIG = "/etc/haproxy/haproxy.cfg"
HAPROXY_SOCKET = "/run/haproxy/admin.sock"
BACKEND = "apiservers"
VIP_BACKEND = "apiservers-vip"      # on the load balancers: follows the other in all but its count of connections
HOSTS = "kubewright-hosts"          # the ConfigMap that names the cluster's hosts, in kube-system
HANDOVER = "inet kubewright-handover"      # the table by which a host takes nobody new at the VIP
KEEPALIVED = "keepalived.service"
KEEPALIVED_CONFIG = "/etc/keepalived/keepalived.conf"
VIP_CHECK = "/opt/kubewright/bin/may-hold-vip"
IS_A_HOST = "/opt/kubewright/bin/is-a-host"
LEAVE_ILL = "/opt/kubewright/bin/leave-ill-servers.lua"      # a part of HAProxy

MAXCONN = 4096
# Seconds of an API server's processor that one check takes: a handshake and /readyz (benchmarks/health_checks.py).
CHECK_CPU = 0.0014
MOST_CPU = 0.045            # of one core, for the checks of all hosts


@dataclass(frozen=True)
class Server:
    """An API server as HAProxy knows it."""

    name: str
    endpoint: Endpoint


@dataclass(frozen=True)
class Intervals:
    """Seconds between two checks of an API server by one host, while it is up and while it is down."""

    inter: int
    downinter: float

    @property
    def observes(self) -> bool:
        """Say whether the checks are so rare that the host's own connections must tell of a server that is gone."""
        return self.inter > 1


def intervals(hosts: int) -> Intervals:
    """Return how often each of `hosts` hosts asks, so that all together take little of an API server.

    The interval doubles, so that a cluster that grows changes it a few times in its life and not with each host. A
    server that is down is asked four times as often: it has little else to do, and should be back soon.
    """
    inter = 1
    while hosts * CHECK_CPU / inter > MOST_CPU:
        inter *= 2
    return Intervals(inter, inter / 4)


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the load balancer of a host; keepalived only where the VIP may be."""
    if not ctx.is_used:
        return
    api = ctx.cluster.api
    # The load balancers are few, and what comes by the VIP meets servers that HAProxy does not watch (`track`).
    often = intervals(len(ctx.site.load_balancers) if ctx.holds_vip else ctx.site.balanced)
    given: dict[str, Any] = {"maxconn": MAXCONN, "inter": f"{often.inter}s"} | ctx.config("haproxy")
    yield rendered(LEAVE_ILL, "load-balancer", component="haproxy", backend=BACKEND, vip_backend=VIP_BACKEND,
                   health_port=BALANCER_HEALTH)
    yield rendered(
        HAPROXY_CONFIG, "load-balancer", component="haproxy", package="haproxy", socket=HAPROXY_SOCKET, backend=BACKEND,
        vip_backend=VIP_BACKEND, local_port=LOCAL_API, api_port=api.port if ctx.holds_vip else None,
        servers=[Server(host.name, Endpoint(host.address, APISERVER)) for host in ctx.site.control_planes],
        health_port=BALANCER_HEALTH, ca=pki.CA, health=pki.HAPROXY_HEALTH, leave=LEAVE_ILL,
        downinter=f"{often.downinter * 1000:.0f}ms", observes=often.observes, without=ctx.system.without,
        **given)
    yield from distribution_service(
        "haproxy.service", "load-balancer", [HAPROXY_CONFIG, LEAVE_ILL, pki.HAPROXY_HEALTH, pki.CA],
        component="haproxy", packaged_runtime=ctx.system.places.runtime)
    if ctx.holds_vip:
        yield from _keepalived(ctx)


# After the holder has given the VIP up, a backup waits (256 - priority) / 256 of the interval between two words of the
# holder (RFC 5798, 6.1): high priorities make that milliseconds. They are apart on every host, for two that see the
# holder die must not both take its place; less so where the hosts are many.
HIGHEST, APART = 254, 8


def priority(number: int, of: int) -> int:
    """Return the priority of the load balancer with this number, from 0, of so many: another for each of up to 254."""
    return max(1, HIGHEST - min(APART, max(1, (HIGHEST - 1) // of)) * number)


def _keepalived(ctx: HostContext) -> Iterator[Item]:
    """Return keepalived's part; its hosts speak with each other at their own addresses, wherever the VIP is."""
    names, port = [host.name for host in ctx.site.load_balancers], ctx.cluster.api.port
    peers = [host.address for host in ctx.site.load_balancers if host.name != ctx.name]
    yield rendered(VIP_CHECK, "load-balancer", component="keepalived", mode=0o755, health_port=BALANCER_HEALTH,
                   api_port=port, peers=[Endpoint(peer, port) for peer in peers], ca=pki.CA)
    yield rendered(IS_A_HOST, "load-balancer", component="keepalived", mode=0o755, name=ctx.name, list=HOSTS, ca=pki.CA,
                   servers=[Endpoint(host.address, APISERVER) for host in ctx.site.control_planes],
                   health=pki.HAPROXY.path, health_key=pki.HAPROXY.key_path)
    yield from directories(["/etc/keepalived"], "load-balancer")
    yield rendered(
        KEEPALIVED_CONFIG, "load-balancer", component="keepalived", name=ctx.name, address=ctx.address,
        interface=ctx.interface, vip_interface=ctx.vip_interface, vip=ctx.cluster.api.vip,
        virtual_router_id=virtual_router_id(ctx.cluster),
        priority=priority(names.index(ctx.name), len(names)),
        peers=peers, check=VIP_CHECK, is_a_host=IS_A_HOST)
    yield from distribution_service(
        KEEPALIVED, "load-balancer", [KEEPALIVED_CONFIG], component="keepalived",
        vip=ctx.cluster.api.vip, interface=ctx.vip_interface)


def virtual_router_id(cluster: Cluster) -> int:
    """Return the VRRP id: the inventory's, else the VIP's last octet, which differs between VIPs of one segment."""
    api = cluster.api
    if api.virtual_router_id is not None:
        return api.virtual_router_id
    return (int(api.vip) & 0xFF if api.vip else 0) or 51
