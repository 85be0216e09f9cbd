"""Rules for ranges and families of addresses: pure functions, each fault a (path, message)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import combinations

from provisioner.model.cluster import Cluster
from provisioner.model.document import Path
from provisioner.model.validate_config import NODE_PREFIX_IPV6, node_prefix

Faults = Iterator[tuple[Path, str]]
IPNet = IPv4Network | IPv6Network
_Item = IPv4Address | IPv6Address | IPNet

# By family: the widest ranges that kube-controller-manager and kube-apiserver accept, and the smallest that is of use.
# kube-apiserver 1.36, cmd/kube-apiserver/app/options/validation.go: 20 bits, which one gate can lift.
_WIDEST_PODS = {4: 8, 6: 48}
_WIDEST_SERVICES = {4: 12, 6: 108}
_SMALLEST_SERVICES = {4: 24, 6: 120}
_WIDEST_MASK = 16       # how much longer than the Pod range kube-controller-manager lets a node's part be
_UNUSABLE = {
    ip_network("127.0.0.0/8"): "loopback", ip_network("169.254.0.0/16"): "link-local",
    ip_network("224.0.0.0/4"): "multicast", ip_network("0.0.0.0/8"): "unspecified",
    ip_network("::/127"): "unspecified and loopback", ip_network("fe80::/10"): "link-local",
    ip_network("ff00::/8"): "multicast", ip_network("::ffff:0:0/96"): "IPv4's"}

FIRST = "the API and etcd speak IPv4 alone; in dual stack IPv6 is the second of each list"
ONE_VIP = "the VIP is one, of IPv4: the API is reached by the first family"


def families(cluster: Cluster) -> Faults:
    """Lists that are not one of IPv4, or one of IPv4 and one of IPv6; and what has two where the others have one."""
    for path, given in _given(cluster):
        if path == ("network", "hosts"):
            continue
        named = path[0] == "network"
        if path == ("api", "vip"):
            yield from ((path, f"{item} is IPv6: {ONE_VIP}") for item in given if item.version == 6)
            if len(given) > 1 and {item.version for item in given} == {4}:
                yield path, f"{' and '.join(map(str, given))} are two: {ONE_VIP}"
            continue
        if given and given[0].version == 6:
            yield (*path, 0) if named else path, f"{given[0]} is IPv6: {FIRST}"
        if len({item.version for item in given}) < len(given):
            what, which = "ranges" if named else "addresses", given[0].version
            yield path, f"{' and '.join(map(str, given))} are two {what} of IPv{which}; a second one is for " \
                f"{'IPv6' if which == 4 else 'IPv4'}"
    if all(network.version == 6 for network in cluster.network.hosts):
        yield ("network", "hosts", 0), f"{cluster.network.hosts[0]} is IPv6: {FIRST}"


def both_or_one(cluster: Cluster) -> Faults:
    """What has two families where another has one: Pods, Services and every node, or none of them."""
    network = cluster.network
    if any(families(cluster)):
        return      # which of them are two is not certain
    counts = {"pods": len(network.pods), "services": len(network.services)}
    if len(set(counts.values())) > 1:
        lacks, has = sorted(counts, key=lambda name: counts[name])
        yield ("network", lacks), f"has no second range, and network.{has} has: dual stack is both, or neither"
    for host in cluster.machines:
        path = ("hosts", host.name, "address")
        if len(host.addresses) > 1 and not network.is_dual:
            yield path, "two addresses are for dual stack: give network.pods and network.services a range of IPv6 " \
                "too, or leave the second out"
        if len(host.addresses) < 2 and network.is_dual and host.is_node:
            yield path, f"Pods have two families here, and {host.name} is a node: give it an address of IPv6 too"


def _given(cluster: Cluster) -> Iterator[tuple[Path, tuple[_Item, ...]]]:
    """Return the places of the file that take addresses or ranges, with what stands there."""
    yield from ((("hosts", name, "address"), spec.addresses) for name, spec in cluster.hosts.items())
    yield ("api", "vip"), cluster.api.vips or ()
    network = cluster.network
    yield from ((("network", name), items) for name, items in (
        ("hosts", network.hosts), ("pods", network.pods), ("services", network.services)))


def ranges(cluster: Cluster) -> list[tuple[Path, IPNet]]:
    """Return the ranges with their places."""
    return [((*path, index), item) for path, items in _given(cluster) if path[0] == "network"
            for index, item in enumerate(items) if isinstance(item, IPNet)]


def ranges_apart(cluster: Cluster) -> Faults:
    """Two ranges that share an address."""
    for (first_path, first), (path, item) in combinations(ranges(cluster), 2):
        if first.version == item.version and first.overlaps(item):
            yield path, f"{item} overlaps {first} (network.{first_path[1]}); the ranges of hosts, Pods and Services " \
                "must be apart"


def ranges_usable(cluster: Cluster) -> Faults:
    """A range with addresses that nothing can be reached at."""
    for path, item in ranges(cluster):
        for reserved, what in _UNUSABLE.items():
            if item.version == reserved.version and item.overlaps(reserved):
                yield path, f"{item} holds {what} addresses ({reserved}), which cannot be used"


def range_sizes(cluster: Cluster) -> Faults:
    """A range that is too small or too wide, or has no part for every node."""
    for index, services in enumerate(cluster.network.services):
        smallest, widest = _SMALLEST_SERVICES[services.version], _WIDEST_SERVICES[services.version]
        path: Path = ("network", "services", index)
        if services.prefixlen > smallest:
            yield path, f"{services} is too small for Services; /{smallest} is the smallest"
        if services.prefixlen < widest:
            yield path, f"{services} is too wide; kube-apiserver accepts up to a /{widest}"
    for index, pods in enumerate(cluster.network.pods):
        yield from _pods(cluster, pods, ("network", "pods", index))


def _pods(cluster: Cluster, pods: IPNet, path: Path) -> Faults:
    widest = _WIDEST_PODS[pods.version]
    prefix = node_prefix(cluster) if pods.version == 4 else NODE_PREFIX_IPV6
    if pods.prefixlen < widest:
        yield path, f"{pods} is too wide; kube-controller-manager accepts up to a /{widest}"
    if prefix - pods.prefixlen > _WIDEST_MASK and pods.prefixlen >= widest:
        yield path, f"{pods} in parts of a /{prefix} is more than kube-controller-manager can " \
            f"count; a part may be at most {_WIDEST_MASK} bits longer than the range"
    room = room_for(pods, prefix)
    if room < len(cluster.nodes):
        yield path, f"{pods} has room for {room} nodes of a /{prefix} each, the inventory has {len(cluster.nodes)}"


def room_for(pods: IPNet, prefix: int) -> int:
    """Return how many parts with this prefix length a range has."""
    return 2 ** (prefix - pods.prefixlen) if pods.prefixlen <= prefix else 0
