"""The Pod networks that an inventory may ask for, by `network.plugin`: a module each, and nobody else knows a name."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner.compile.networks import flannel, none
from provisioner.compile.networks.contract import PodNetwork
from provisioner.model.cluster import Cluster

TABLE: Mapping[str, PodNetwork] = {network.name: network for network in (flannel.NETWORK, none.NETWORK)}
# Those of any of them.
DIRECTORIES = tuple(path for one in TABLE.values() for path in (one.config_dir, one.bin_dir, *one.keeps))
# Units that tell the API, when they start, how the Pods of their Node are reached; and what they write there.
ANNOUNCERS = frozenset(network.unit for network in TABLE.values() if network.announces)
ANNOUNCEMENTS = frozenset(network.announces for network in TABLE.values() if network.announces)


def of(cluster: Cluster) -> PodNetwork:
    """Return the Pod network of a cluster."""
    return TABLE[cluster.network.plugin]
