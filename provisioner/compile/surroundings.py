"""What a host is told of the world around the cluster: where its time comes from, and whom it believes.

Both are read by programs of the system, which a unit of ours tells to read them again: at its start, so whenever the
files change, and at each boot.
"""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.compile.context import HostContext
from provisioner.compile.parts import directories, rendered, service
from provisioner.model.cluster import Cluster
from provisioner.model.desired import File, Item

TIMESYNCD = "/etc/systemd/timesyncd.conf.d/50-kubewright.conf"
CHRONY = "/etc/chrony/sources.d/kubewright.sources"
READ_TIME_SERVERS = "/opt/kubewright/bin/read-time-servers"
TRUST_DIR = "/etc/kubewright/trust"
TRUST = "/opt/kubewright/bin/trust-authorities"
TRUST_UNIT = "kubewright-trust.service"


def items(ctx: HostContext) -> Iterator[Item]:
    """Return a host's time servers and authorities; nothing where the inventory says nothing of them."""
    if ctx.is_used and ctx.cluster.time.servers:
        yield from _time(ctx)
    if ctx.is_node and ctx.cluster.trust:
        yield from _trust(ctx)


def _time(ctx: HostContext) -> Iterator[Item]:
    servers = ctx.cluster.time.servers
    yield from directories(["/etc/systemd/timesyncd.conf.d", "/etc/chrony", "/etc/chrony/sources.d"], "load-balancer")
    for path in (TIMESYNCD, CHRONY):
        yield rendered(path, "load-balancer", component="time", servers=servers)
    places = ctx.system.places
    yield rendered(READ_TIME_SERVERS, "load-balancer", component="time", mode=0o755, chrony=places.chrony, ours=CHRONY,
                   sources=places.sources)
    yield from service("kubewright-time.service", "load-balancer", [TIMESYNCD, CHRONY, READ_TIME_SERVERS],
                       component="time", program=READ_TIME_SERVERS, chrony=places.chrony, copied=bool(places.sources))


def authorities(cluster: Cluster) -> tuple[str, ...]:
    """Return where a node has the certificates of the inventory's authorities."""
    return tuple(f"{TRUST_DIR}/kubewright-{number}.crt" for number in range(1, len(cluster.trust) + 1))


def _trust(ctx: HostContext) -> Iterator[Item]:
    yield from directories([TRUST_DIR], "runtime")
    paths = authorities(ctx.cluster)
    for path, text in zip(paths, ctx.cluster.trust, strict=True):
        yield File(path=path, phase="runtime", component="trust", content=text)
    places = ctx.system.places
    yield rendered(TRUST, "runtime", component="trust", mode=0o755, directory=TRUST_DIR, anchors=places.anchors,
                   believe=places.believe, forget=places.forget)
    yield from service(TRUST_UNIT, "runtime", [*paths, TRUST], component="trust", program=TRUST)
