"""Rules between fields: pure, each fault a (path, message)."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.model.cluster import Cluster
from provisioner.model.document import Path


def validate(cluster: Cluster, *, partial: bool = False) -> Iterator[tuple[Path, str]]:
    """Yield every fault; `partial` leaves out the rules that count hosts, for a file of which parts were left out."""
    if not partial and not cluster.control_planes:
        yield ("hosts",), "no host has the role control-plane; at least one is needed"
