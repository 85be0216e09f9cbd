"""Rules for ranges, addresses, and the way to the API: pure functions, each fault a (path, message)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from provisioner.model.cluster import Cluster, Host, Role
from provisioner.model.components import on_host
from provisioner.model.document import Path
from provisioner.model.endpoint import Endpoint
from provisioner.model.syntax import HOST_AND_PORT, domain_fault, matches_with_port, san_fault
from provisioner.model.validate_config import node_ports
from provisioner.model.validate_ranges import FIRST, ranges

Faults = Iterator[tuple[Path, str]]

_EXTERNAL = re.compile(HOST_AND_PORT)


def domain(cluster: Cluster) -> Faults:
    """A name for Services that DNS or a resolver would not take for one."""
    fault = domain_fault(cluster.network.domain)
    if fault:
        yield ("network", "domain"), f"`{cluster.network.domain}` {fault}"


def addresses(cluster: Cluster) -> Faults:
    """An address that two hosts have, or that no machine can have here."""
    taken: dict[IPv4Address | IPv6Address, str] = {}
    for host in cluster.machines:
        for address in host.spec.addresses:
            path = ("hosts", host.name, "address")
            if taken.setdefault(address, host.name) != host.name:
                yield path, f"{address} is the address of {taken[address]} already"
            fault = _outside(cluster, address)
            if fault:
                yield path, fault


def vip(cluster: Cluster) -> Faults:
    """A VIP that is not one of its own, lies where no host can be, or stands beside `external`."""
    address = cluster.api.vip
    if address is None:
        return
    for host in cluster.machines:
        if address in host.spec.addresses:
            yield ("api", "vip"), f"{address} is the address of {host.name}; the VIP must be an address of its own"
    fault = _outside(cluster, address)
    if fault:
        yield ("api", "vip"), fault
    if cluster.api.external:
        yield ("api", "external"), "give either api.vip or api.external, not both"


def _network_of(cluster: Cluster, address: IPv4Address | IPv6Address) -> IPv4Network | IPv6Network | None:
    return next((net for net in cluster.network.hosts if address in net), None)


def _outside(cluster: Cluster, address: IPv4Address | IPv6Address) -> str:
    """Say why `address` cannot be a machine's: outside the hosts' networks, or one that no machine may have."""
    network = _network_of(cluster, address)
    if network is None:
        return f"{address} is outside network.hosts ({', '.join(str(net) for net in cluster.network.hosts)})"
    if address == network.network_address and address.version == 6 and network.prefixlen < 127:
        return f"{address} is the first address of {network}, which every router of that network answers at"
    if address.version == 4 and network.prefixlen < 31 and address in (
            network.network_address, network.broadcast_address):
        return f"{address} is the first or last address of {network}, which no machine can have"
    return ""


def load_balancer_needs_vip(cluster: Cluster) -> Faults:
    """Load balancers that have nothing to do."""
    for host in cluster.with_role(Role.LOAD_BALANCER):
        path = ("hosts", host.name, "roles")
        if cluster.api.external:
            yield path, "load-balancer has nothing to do here: api.external says that the load balancer is not ours"
        elif cluster.api.vip is None:
            yield path, "load-balancer needs api.vip, the address that these hosts share"


def api_port_free(cluster: Cluster) -> Faults:
    """A port for the API that something else on its hosts has."""
    port = cluster.api.port
    if cluster.api.vip is None:
        return
    taken = {number: name for host in cluster.load_balancers for number, name in _ports_of(cluster, host).items()}
    given_out = node_ports(cluster)
    if port in taken:
        yield ("api", "port"), f"{port} is taken on these hosts ({taken[port]}); the default is 8443"
    elif port in given_out:
        span = f"{given_out.start}-{given_out.stop - 1}"
        yield ("api", "port"), f"{port} lies in the range of NodePort Services ({span}); the default is 8443"
    elif any(cluster.ssh_of(host.name).port == port for host in cluster.load_balancers):
        yield ("api", "port"), f"{port} is the port of sshd on these hosts; the default is 8443"


def node_ports_free(cluster: Cluster) -> Faults:
    """A range of NodePort Services in which a program of ours listens."""
    path = ("config", "kube-apiserver", "flags", "service-node-port-range")
    given_out = node_ports(cluster)
    taken = {number: name for host in cluster.nodes for number, name in _ports_of(cluster, host).items()}
    taken |= {cluster.ssh_of(host.name).port: f"sshd of {host.name}" for host in cluster.nodes}
    within = [f"{number} ({name})" for number, name in sorted(taken.items()) if number in given_out]
    if within:
        yield path, f"{', '.join(within)} {'is' if len(within) == 1 else 'are'} in it and taken on nodes"


def sshd_ports(cluster: Cluster) -> Faults:
    """A port of sshd that a program of ours has on the same host."""
    told: set[Path] = set()
    for host in cluster.machines:
        port = cluster.ssh_of(host.name).port
        path: Path = ("ssh", "port") if host.spec.ssh.port is None else ("hosts", host.name, "ssh", "port")
        taken = _ports_of(cluster, host).get(port) if host.roles else None
        if taken and path not in told:
            told.add(path)
            yield path, f"{port} is the port of {taken} on {host.name}; sshd must listen elsewhere"


def _ports_of(cluster: Cluster, host: Host) -> dict[int, str]:
    """Return the ports that programs of ours have on `host`, with their names in words."""
    return {port.number: port.name for row in on_host(cluster, host) for port in row.ports}


def external(cluster: Cluster) -> Faults:
    """An address outside that cannot be one, or that ends with a host of ours."""
    value = cluster.api.external
    if value is None:
        return
    if not matches_with_port(_EXTERNAL, value):
        yield ("api", "external"), f"`{value}` is not HOST:PORT, such as lb.example.org:6443"
        return
    host = Endpoint.parse(value).host
    fault = _ipv6(host) or san_fault(host) or _nobody_there(host) or _own(cluster, host) or _within(cluster, host)
    if fault:
        yield ("api", "external"), fault


def _ipv6(host: str) -> str:
    return f"{host} is IPv6: {FIRST}" if ":" in host else ""


def _nobody_there(host: str) -> str:
    if host == "localhost" or host.endswith(".localhost"):
        return f"{host} is another machine for everybody who reads it; give the load balancer's own name or address"
    try:
        address = ip_address(host)
    except ValueError:
        return ""
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
        return f"{host} is no machine's address that others could reach; give the load balancer's own"
    return ""


def _own(cluster: Cluster, host: str) -> str:
    """Say why an address of ours is not one that outlives each control plane."""
    own = next((h for h in cluster.control_planes if host in (h.address, h.name)), None)
    if own is None or len(cluster.control_planes) < 2:
        return ""
    return f"{host} is {own.name}, one of {len(cluster.control_planes)} control planes: the API would be gone with " \
        "it; set api.vip instead, or the address of a load balancer before them"


def _within(cluster: Cluster, host: str) -> str:
    """Say why an address within the cluster's own ranges is none that people can reach."""
    for path, network in ranges(cluster):
        if path[1] != "hosts" and host.replace(".", "").isdigit() and IPv4Address(host) in network:
            return f"{host} is in {network} (network.{path[1]}), which exists within the cluster only"
    return ""


def extra_sans(cluster: Cluster) -> Faults:
    """A name that no certificate can carry, or one that stands there twice."""
    for index, name in enumerate(cluster.api.extra_sans):
        fault = san_fault(name)
        if not fault and name in cluster.api.extra_sans[:index]:
            fault = f"`{name}` is in the list twice"
        if fault:
            yield ("api", "extra_sans", index), fault


def lab_is_private(cluster: Cluster) -> Faults:
    """A lab with addresses that exist elsewhere."""
    for index, network in enumerate(cluster.network.hosts):
        if cluster.lab and not network.is_private:
            yield ("network", "hosts", index), f"{network} is not private; a lab's addresses must not exist elsewhere"


def one_api_address(cluster: Cluster) -> Faults:
    """Several control planes without an address for all."""
    count = len(cluster.control_planes)
    if count > 1 and cluster.api.vip is None and not cluster.api.external:
        yield ("api",), f"{count} control planes need one address that outlives each of them: " \
            "set api.vip, or api.external"
