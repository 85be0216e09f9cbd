"""Rules for ranges, addresses, and the way to the API: pure functions, each fault a (path, message)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import combinations

from provisioner.model.cluster import Cluster, Host, Role
from provisioner.model.components import on_host
from provisioner.model.document import Path
from provisioner.model.endpoint import Endpoint
from provisioner.model.syntax import HOST_AND_PORT, domain_fault, matches_with_port, san_fault
from provisioner.model.validate_config import node_ports, node_prefix

Faults = Iterator[tuple[Path, str]]

_WIDEST_PODS, _WIDEST_SERVICES = 8, 12  # the widest ranges kube-controller-manager and kube-apiserver accept
_WIDEST_MASK = 16       # how much longer than the Pod range kube-controller-manager lets a node's part be
_UNUSABLE = {IPv4Network("127.0.0.0/8"): "loopback", IPv4Network("169.254.0.0/16"): "link-local",
             IPv4Network("224.0.0.0/4"): "multicast", IPv4Network("0.0.0.0/8"): "unspecified"}
_Item = IPv4Address | IPv6Address | IPv4Network | IPv6Network
_EXTERNAL = re.compile(HOST_AND_PORT)


LATER = "dual stack, and IPv6 alone, come later; a cluster speaks IPv4 for now"


def families(cluster: Cluster) -> Faults:
    """What belongs to IPv6, or is one too many for IPv4 alone."""
    for path, given in _given(cluster):
        named = path[0] == "network"
        for index, item in enumerate(given):
            if item.version == 6:
                yield (*path, index) if named else path, f"{item} is IPv6: {LATER}"
        several = [item for item in given if item.version == 4]
        if len(several) > 1 and path != ("network", "hosts"):
            what = "ranges" if named else "addresses"
            yield path, f"{' and '.join(map(str, several))} are two {what} of IPv4; a second one is for IPv6, and " \
                "that comes later"


def _given(cluster: Cluster) -> Iterator[tuple[Path, tuple[_Item, ...]]]:
    """Return the places of the file that take addresses or ranges, with what stands there."""
    yield from ((("hosts", name, "address"), spec.addresses) for name, spec in cluster.hosts.items())
    yield ("api", "vip"), cluster.api.vips or ()
    network = cluster.network
    yield from ((("network", name), items) for name, items in (
        ("hosts", network.hosts), ("pods", network.pods), ("services", network.services)))


def _ranges(cluster: Cluster) -> list[tuple[Path, IPv4Network]]:
    """Return the ranges of IPv4 with their places; what is wrong with another is that it is another."""
    return [((*path, index), item) for path, items in _given(cluster) if path[0] == "network"
            for index, item in enumerate(items) if isinstance(item, IPv4Network)]


def ranges_apart(cluster: Cluster) -> Faults:
    """Two ranges that share an address."""
    for (first_path, first), (path, item) in combinations(_ranges(cluster), 2):
        if first.overlaps(item):
            yield path, f"{item} overlaps {first} (network.{first_path[1]}); the ranges of hosts, Pods and Services " \
                "must be apart"


def ranges_usable(cluster: Cluster) -> Faults:
    """A range with addresses that nothing can be reached at."""
    for path, item in _ranges(cluster):
        for reserved, what in _UNUSABLE.items():
            if item.overlaps(reserved):
                yield path, f"{item} holds {what} addresses ({reserved}), which cannot be used"


def range_sizes(cluster: Cluster) -> Faults:
    """A range that is too small or too wide, or has no part for every node."""
    services, pods = cluster.network.services[0], cluster.network.pods[0]
    if services.version == 6 or pods.version == 6:
        return
    if services.prefixlen > 24:
        yield ("network", "services", 0), f"{services} is too small for Services; /24 is the smallest"
    if services.prefixlen < _WIDEST_SERVICES:
        yield ("network", "services", 0), f"{services} is too wide; kube-apiserver accepts up to a /{_WIDEST_SERVICES}"
    if pods.prefixlen < _WIDEST_PODS:
        yield ("network", "pods", 0), f"{pods} is too wide; kube-controller-manager accepts up to a /{_WIDEST_PODS}"
    prefix = node_prefix(cluster)
    if prefix - pods.prefixlen > _WIDEST_MASK:
        yield ("network", "pods", 0), f"{pods} in parts of a /{prefix} is more than kube-controller-manager can " \
            f"count; a part may be at most {_WIDEST_MASK} bits longer than the range"
    room = 2 ** (prefix - pods.prefixlen) if pods.prefixlen <= prefix else 0
    if room < len(cluster.nodes):
        yield ("network", "pods", 0), f"{pods} has room for {room} nodes of a /{prefix} each, " \
            f"the inventory has {len(cluster.nodes)}"


def domain(cluster: Cluster) -> Faults:
    """A name for Services that DNS or a resolver would not take for one."""
    fault = domain_fault(cluster.network.domain)
    if fault:
        yield ("network", "domain"), f"`{cluster.network.domain}` {fault}"


def addresses(cluster: Cluster) -> Faults:
    """An address that two hosts have, or that no machine can have here."""
    taken: dict[_Item, str] = {}
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
    """Say why `address` cannot be a machine's: outside the hosts' networks, or one that no machine may have.

    What there is to say of one of IPv6 is said already.
    """
    if address.version == 6:
        return ""
    network = _network_of(cluster, address)
    if network is None:
        return f"{address} is outside network.hosts ({', '.join(str(net) for net in cluster.network.hosts)})"
    if network.prefixlen < 31 and address in (network.network_address, network.broadcast_address):
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
    return f"{host} is IPv6: {LATER}" if ":" in host else ""


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
    for path, network in _ranges(cluster):
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
