"""What an inventory may well say and yet is a risk: told by `validate` as warnings, refused by nobody."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.model.cluster import Cluster, Role
from provisioner.model.document import Path


def advice(cluster: Cluster) -> Iterator[tuple[Path, str]]:
    """Yield each warning with the place that it is about."""
    balancers = cluster.load_balancers
    if cluster.api.vip is not None and len(balancers) == 1 and len(cluster.hosts) > 1:
        yield ("api", "vip"), f"only {balancers[0].name} can hold {cluster.api.vip}: when it fails, the API is gone " \
            "for everybody outside; give a second host the role load-balancer"
    for host in cluster.machines:
        if not host.is_node and (host.spec.labels or host.spec.taints):
            yield ("hosts", host.name), f"{host.name} is no Node (it is neither a control plane nor a worker): " \
                "nothing has its labels and taints"
    takers = [host for host in cluster.nodes if Role.WORKER in host.roles]
    if not takers:
        yield ("hosts",), "no host has the role worker: the control planes take no Pods but those of the cluster " \
            "itself; add the role worker to one of them, or a host"
    for path, name in _names(cluster):
        if f".{name}".endswith(f".{cluster.network.domain}"):
            yield path, f"no Pod will find {name}: their DNS answers for all names below {cluster.network.domain} " \
                "(network.domain), and knows Services and Pods there alone"


def _names(cluster: Cluster) -> Iterator[tuple[Path, str]]:
    """Yield the DNS names of machines that Pods may ask for."""
    if cluster.api.external:
        yield ("api", "external"), cluster.api.external.rpartition(":")[0]
    yield from ((("api", "extra_sans", n), name.lower()) for n, name in enumerate(cluster.api.extra_sans))
    yield from ((("hosts", host.name), host.name) for host in cluster.machines)
