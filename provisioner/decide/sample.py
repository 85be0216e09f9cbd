"""Which hosts measure while a cluster is changed: all of a small one, a bounded number of a large one."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from provisioner.model.cluster import Cluster

AT_MOST = 50        # each holds an SSH channel and a thread here, and asks the API a few times a second


def measuring(cluster: Cluster, hosts: Collection[str], at_most: int = AT_MOST) -> tuple[str, ...]:
    """Return those of `hosts` that measure, in the inventory's order: all, or `at_most`.

    Every control plane and load balancer is among them; of the others those whose names hash lowest, so that which they
    are does not depend on the order in the file, and a host that comes or goes changes at most one of them.
    """
    there = [h.name for h in cluster.machines if h.roles and h.name in hosts]
    if len(there) <= at_most:
        return tuple(there)
    always = {h.name for h in (*cluster.control_planes, *cluster.load_balancers)}
    others = sorted((name for name in there if name not in always), key=lambda name: hashlib.sha256(
        name.encode()).digest())
    taken = always | set(others[:max(0, at_most - sum(name in always for name in there))])
    return tuple(name for name in there if name in taken)
