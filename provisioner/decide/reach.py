"""Who must reach whom, from the inventory alone; as many pairs as there is talk between hosts, never all with all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import permutations

from provisioner.compile import networks
from provisioner.model import ports
from provisioner.model.cluster import Cluster, Host
from provisioner.model.reach import ETCD_PEER, PODS, Need

FEW = 12                # nodes up to which all are tried with all
STRIDES = (1, 7)        # beyond, each node tries those so many places further in the file, and they it
MEMBER_TIMES = 10       # as many as OpenShift's assisted installer sends to know latency and loss


def needs(cluster: Cluster, about: Collection[str] | None = None, sizes: Mapping[str, int] | None = None,
          ) -> tuple[Need, ...]:
    """Return what must be reached, each once; with `about`, only what has one of these hosts at an end.

    `sizes` are the largest packets that hosts send: the MTU of their interfaces.
    """
    every = (*_etcd(cluster), *_api(cluster), *_balancers(cluster), *_kubelets(cluster), *_pods(cluster, sizes or {}))
    return tuple(dict.fromkeys(n for n in every if about is None or n.source in about or n.target in about))


def _etcd(cluster: Cluster) -> Iterator[Need]:
    members = [h.name for h in cluster.etcd_hosts]
    for source, target in permutations(members, 2):
        yield Need(source, target, "tcp", ports.ETCD_PEER, ETCD_PEER, times=MEMBER_TIMES)
    # An API server on a member's host speaks to that one only; the others need not let it in, though people expect it.
    for source in dict.fromkeys([*_names(cluster.control_planes), *members]):
        for target in members:
            if source != target:
                yield Need(source, target, "tcp", ports.ETCD_CLIENT, "etcd's clients",
                           essential=source not in members)


def _api(cluster: Cluster) -> Iterator[Need]:
    """Every host has a HAProxy before all API servers."""
    users = [h.name for h in cluster.machines if h.roles or h.name in set(_names(cluster.etcd_hosts))]
    yield from _each(users, _names(cluster.control_planes), ports.APISERVER, "the API servers")


def _balancers(cluster: Cluster) -> Iterator[Need]:
    """The VIP is at any of the balancers; nodes themselves do without it, their Pods and people on them may not."""
    if cluster.api.vip is None:
        return
    balancers, planes = _names(cluster.load_balancers), set(_names(cluster.control_planes))
    for need in _each(_names(cluster.nodes), balancers, cluster.api.port, "the balancers"):
        yield need._replace(essential=need.source in planes)
    for source, target in permutations(balancers, 2):
        yield Need(source, target, "vrrp", 0, "who holds the VIP")


def _kubelets(cluster: Cluster) -> Iterator[Need]:
    yield from _each(_names(cluster.control_planes), _names(cluster.nodes), ports.KUBELET, "the kubelets")


def _pods(cluster: Cluster, sizes: Mapping[str, int]) -> Iterator[Need]:
    """Nodes wrap what their Pods send each other; among many, a sample of pairs in which every node is."""
    largest = networks.of(cluster).largest(cluster)
    for protocol, port in networks.of(cluster).packets(cluster):
        for source, target in sampled(_names(cluster.nodes), _names(cluster.control_planes)):
            size = sizes.get(source, 0)
            yield Need(source, target, protocol, port, PODS, size=min(size, largest) if largest else size)


def sampled(nodes: Sequence[str], hubs: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of nodes, both ways: all of few; of many each with every hub and a few neighbours."""
    if len(nodes) <= FEW:
        yield from permutations(nodes, 2)
        return
    pairs = {(a, nodes[(i + stride) % len(nodes)]): None for i, a in enumerate(nodes) for stride in STRIDES}
    pairs |= {(node, hub): None for node in nodes for hub in hubs if node != hub and hub in set(nodes)}
    yield from dict.fromkeys(pair for a, b in pairs for pair in ((a, b), (b, a)))


def _each(sources: Iterable[str], targets: Sequence[str], port: int, why: str) -> Iterator[Need]:
    for source in sources:
        for target in targets:
            if source != target:
                yield Need(source, target, "tcp", port, why)


def _names(hosts: Iterable[Host]) -> list[str]:
    return [host.name for host in hosts]


def listens(wanted: Iterable[Need]) -> dict[str, tuple[tuple[str, int], ...]]:
    """Return what each host has to listen on, while it is tried."""
    found: dict[str, dict[tuple[str, int], None]] = {}
    for need in wanted:
        found.setdefault(need.target, {})[need.protocol, need.port] = None
    return {host: tuple(on) for host, on in found.items()}
