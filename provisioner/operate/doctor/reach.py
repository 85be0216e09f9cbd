"""Who reaches whom: the API servers from every HAProxy, Services and names from within Pods' networks."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.model.components import BY_NAME
from provisioner.model.examination import Inside
from provisioner.model.finding import Finding
from provisioner.operate.doctor.picture import Picture
from provisioner.operate.haproxy import READY

NOBODY = "no Pod with a network of its own runs there"


def balancers(picture: Picture) -> Iterator[Finding]:
    """Judge how each host's HAProxy sees the API servers: one that is out of all, one that is out of some, none left.

    What a run took out of service is told by `status`.
    """
    cluster = picture.cluster
    seen = {host: servers for host, servers in picture.servers.items() if servers is not None}
    for host, servers in picture.servers.items():
        if servers is None and BY_NAME["haproxy"].runs_on(cluster, cluster.machine(host)):
            yield Finding("haproxy", host, "error", "HAProxy does not answer at its socket",
                          f"kubewright logs {host} haproxy")
        elif servers and not any(s.in_service for s in servers.values()):
            yield Finding("no-server", host, "error", "HAProxy has no API server in service",
                          f"kubewright logs {host} haproxy")
    for server in cluster.control_planes:
        out = [host for host, servers in seen.items()
               if server.name in servers and servers[server.name].admin == READY and not servers[server.name].up]
        if out:
            where = "every HAProxy" if len(out) == len(seen) and len(out) > 1 else f"the HAProxy of {', '.join(out)}"
            yield Finding("backend", server.name, "error", f"its API server is out of service in {where}",
                          f"kubewright logs {server.name} kube-apiserver")


def in_service(picture: Picture) -> tuple[int, int]:
    """Return how many API servers are in service in every HAProxy that was seen, and how many there are."""
    names = [h.name for h in picture.cluster.control_planes]
    seen = [servers for servers in picture.servers.values() if servers]
    return sum(all(n in s and s[n].in_service for s in seen) for n in names) if seen else 0, len(names)


def pods(picture: Picture) -> Iterator[Finding]:
    """Judge whether Pods reach names and the API's Service: where one of a host's networks does, its Pods can.

    A network that is closed by a policy of its own says nothing of the host.
    """
    for host, seen in picture.hosts.items():
        inside = seen.inside
        if inside is None:
            continue
        if not inside.there:
            yield Finding("pod-network", host, "unseen", NOBODY, "")
        elif not inside.asked:
            why = next(iter(inside.unseen.values()), "no network could be entered")
            yield Finding("pod-network", host, "unseen", f"Pods' networks could not be entered: {why}", "")
        else:
            yield from _within(host, inside)


def _within(host: str, inside: Inside) -> Iterator[Finding]:
    asked = (("pod-dns", "cluster DNS", inside.dns), ("pod-service", "the API's Service", inside.tcp))
    for code, what, faults in asked:
        if faults and len(faults) == inside.asked:
            why = next(iter(faults.values()))
            yield Finding("pod-network", host, "error", f"Pods there do not reach {what}: {why}",
                          f"on {host}: nft list ruleset", code=code)
