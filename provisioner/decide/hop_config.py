"""What a `config:` sets and a version on the way does not take: named before anything is touched.

The inventory is judged for the release that it names. A way may lead through others, and leave nodes at an older one.

No verb asks this yet. `upgrade` gives each program its new configuration in the turn of its new version, so all that
counts there is what loading the inventory has judged: asked here, a field that comes with the new release would be
refused for a kubelet that never reads it. It is for whatever walks a way hop by hop (see decide/upgrade.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from provisioner.compile.versions import NODE_BINARIES
from provisioner.decide.skew import ETCD
from provisioner.decide.upgrade import Hop
from provisioner.model.cluster import Cluster
from provisioner.model.document import show_path
from provisioner.model.releases import RELEASES, beside, taken_by
from provisioner.model.validate_config import config_faults


def not_taken(cluster: Cluster, hops: Iterable[Hop]) -> tuple[str, ...]:
    """Return each place of `config:` that some version on the way does not take, with what the first of them says."""
    found: dict[str, str] = {}
    for hop in hops:
        for place, message in _of_hop(cluster, hop):
            found.setdefault(place, message)
    return tuple(f"{place}: {message}" for place, message in found.items())


def _of_hop(cluster: Cluster, hop: Hop) -> Iterator[tuple[str, str]]:
    for release in dict.fromkeys((hop.kubernetes, hop.nodes)):
        for path, message in config_faults(cluster.model_copy(update={"kubernetes": release})):
            of_nodes = path[path.index("config") + 1] in NODE_BINARIES
            if release == (hop.nodes if of_nodes else hop.kubernetes):
                yield show_path(path), message
    etcd = str(hop.versions.get(ETCD, ""))
    if etcd and hop.kubernetes in RELEASES and etcd != beside(hop.kubernetes, ETCD):
        yield from _of_etcd(cluster, etcd)


def _of_etcd(cluster: Cluster, version: str) -> Iterator[tuple[str, str]]:
    """Yield the flags that another etcd does not take than the one that goes with the release."""
    known = taken_by(ETCD, version)["flags"][ETCD]
    places: dict[str, Mapping[str, Any]] = {"config": cluster.config}
    places |= {f"hosts.{name}.config": spec.config for name, spec in cluster.hosts.items()}
    for place, config in places.items():
        for flag in config.get(ETCD, {}).get("flags") or {}:
            if flag not in known:
                yield f"{place}.etcd.flags.{flag}", f"etcd {version} has no flag `{flag}`"
