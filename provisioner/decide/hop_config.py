"""What a `config:` sets and a version on the way does not take: named before anything is touched.

The inventory is judged for the release that it names. A way may lead through others, and leave nodes at an older one.

Asked of what a pass over the phases ends at (decide/legs.py): within one each program gets its new configuration in the
turn of its new version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from provisioner.compile.versions import NODE_BINARIES
from provisioner.decide.skew import ETCD
from provisioner.decide.upgrade import Hop
from provisioner.model.cluster import Cluster
from provisioner.model.document import show_path
from provisioner.model.releases import MINORS, RELEASES, beside, taken_by
from provisioner.model.validate_config import config_faults


def not_taken(cluster: Cluster, hops: Iterable[Hop]) -> tuple[str, ...]:
    """Return each place of `config:` that some version on the way does not take, with what the first of them says."""
    found: dict[str, str] = {}
    for hop in hops:
        for place, message in _of_hop(cluster, hop):
            found.setdefault(place, message)
    return tuple(f"{place}: {message}" for place, message in found.items())


def _of_hop(cluster: Cluster, hop: Hop) -> Iterator[tuple[str, str]]:
    tried = MINORS[hop.emulates].releases[-1] if hop.emulates in MINORS else ""     # what it may go back to
    for release in filter(None, dict.fromkeys((hop.kubernetes, hop.nodes, tried))):
        for path, message in config_faults(cluster.model_copy(update={"kubernetes": release})):
            of_nodes = path[path.index("config") + 1] in NODE_BINARIES
            if release in ((hop.nodes,) if of_nodes else (hop.kubernetes, tried)):
                yield show_path(path), message
    etcd = str(hop.versions.get(ETCD, ""))
    if etcd and hop.kubernetes in RELEASES and etcd != beside(hop.kubernetes, ETCD):
        yield from _of_etcd(cluster, etcd)


def _of_etcd(cluster: Cluster, version: str) -> Iterator[tuple[str, str]]:
    """Yield the flags that another etcd does not take than the one that goes with the release.

    Of one that a lock alone names nobody may ever have been asked what it takes: then nothing is said.
    """
    try:
        known = taken_by(ETCD, version)["flags"][ETCD]
    except FileNotFoundError:
        return
    places: dict[str, Mapping[str, Any]] = {"config": cluster.config}
    places |= {f"hosts.{name}.config": spec.config for name, spec in cluster.hosts.items()}
    for place, config in places.items():
        for flag in config.get(ETCD, {}).get("flags") or {}:
            if flag not in known:
                yield f"{place}.etcd.flags.{flag}", f"etcd {version} has no flag `{flag}`"
