"""What must hold on a host, as probes for its applier to poll: see `probe` in docs/reference/applier-protocol.md."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from provisioner.compile import network, proxy, runtime, upkeep
from provisioner.compile import pki as table
from provisioner.compile.context import CLUSTER_DOMAIN
from provisioner.model.desired import HostDesired, Unit
from provisioner.model.ports import (
    APISERVER,
    ETCD_METRICS,
    KUBE_PROXY_HEALTH,
    KUBELET_HEALTH,
    LOCAL_API,
)
from provisioner.orchestrate.session.session import Session

Probe = dict[str, Any]
DNS, SERVICE = "cluster DNS", "Service address of the API"
API_IS_READY = "kube-apiserver /readyz"


def https(name: str, address: str, port: int, path: str = "/readyz") -> Probe:
    """Return the probe that asks an API server, whose certificate is verified, with the health client's own."""
    return {"name": name, "kind": "http", "url": f"https://{address}:{port}{path}", "ca": table.CA,
            "cert": table.HAPROXY.path, "key": table.HAPROXY.key_path, "status": 200}


def host_probes(session: Session, host: str, phase: str, *, again: bool = False) -> list[Probe]:
    """Return what must hold on `host` after `phase`: each of its units current, active, staying up, and answering.

    `again` is for what comes after the phases' own gates: where the run restarted anything, units may have exited since
    with good reason (a leader that lost its lease), so exits no longer count.
    """
    desired: HostDesired = session.the_plan.desired.hosts[host]
    units = [i for i in desired.of_phase(phase) if isinstance(i, Unit)]
    probes = [_unit(session, host, u, again=again) for u in units]
    if units:
        extra = _EXTRA.get(phase)
        probes += extra(session, host) if extra else []
    return probes


def probes_of(session: Session, phases: Collection[str], *, again: bool = False) -> dict[str, list[Probe]]:
    """Return what must hold on every host after these phases; with `control-plane` among them, at the VIP too."""
    found = {host: [p for phase in phases for p in host_probes(session, host, phase, again=again)]
             for host in session.the_plan.desired.hosts}
    for host, probe in vip_probes(session).items() if "control-plane" in phases else ():
        found.get(host, []).extend(probe)
    return found


def _unit(session: Session, host: str, unit: Unit, *, again: bool) -> Probe:
    """Return a unit's probe; `since_restarts` lets one that cannot stay up fail at once instead of at the deadline."""
    probe: Probe = {"name": unit.path, "kind": "unit", "unit": unit.path, "current": True}
    if host in session.rolled_back:       # how often it exited before says nothing, and only its own list what it reads
        return probe | {"listed": True}
    probe["inputs"] = list(unit.inputs)
    started, observed = session.the_plan.started, session.observed.get(host)
    if not (again and started):
        before = observed.extra("unit", unit.path).get("restarts", 0) if observed else 0
        probe["since_restarts"] = 0 if (host, unit.path) in started else int(before)
    return probe


def control_plane_probe(session: Session, host: str) -> Probe:
    """Return the probe of `host`'s own API server, past every load balancer."""
    return https(API_IS_READY, session.cluster.machine(host).address, APISERVER)


def _control_plane(session: Session, host: str) -> list[Probe]:
    return [control_plane_probe(session, host),
            https("kube-apiserver through haproxy", "127.0.0.1", LOCAL_API)]


# A member that says so has just had a read confirmed by a majority.
MEMBER_IS_READY: Probe = {"name": "etcd /readyz", "kind": "http", "status": 200,
                          "url": f"http://127.0.0.1:{ETCD_METRICS}/readyz"}
_EXTRA: Mapping[str, Callable[[Session, str], list[Probe]]] = {
    "etcd": lambda s, h: [MEMBER_IS_READY],
    "load-balancer": lambda s, h: [{"name": "haproxy", "kind": "tcp", "address": "127.0.0.1", "port": LOCAL_API}],
    "control-plane": _control_plane,
    "node": lambda s, h: [
        {"name": "kubelet", "kind": "http", "url": f"http://127.0.0.1:{KUBELET_HEALTH}/healthz", "status": 200},
        {"name": "kube-proxy", "kind": "http", "url": f"http://127.0.0.1:{KUBE_PROXY_HEALTH}/healthz", "status": 200},
        *_rules(s, h, proxy.UNIT)],
    "network": lambda s, h: [*_cni(s), *_rules(s, h, network.UNIT)],
}


def node_probes(session: Session, host: str) -> list[Probe]:
    """Return what only the cluster as a whole makes true on a node: ways to all others, Services, and names.

    Nothing of it is asked in the gates of single phases: other hosts may be what it lacks.
    """
    cluster = session.cluster
    service = str(cluster.kubernetes_service_ip)
    found = [https(SERVICE, service, 443)]
    if host in session.waits_for_cni:
        return found
    found += _ways(session, host, session.answering(cluster.nodes))
    return [*found, {"name": DNS, "kind": "dns", "server": cluster.dns_ip, "answer": service,
                     "query": f"kubernetes.default.svc.{CLUSTER_DOMAIN}"}]


def lasting_probes(session: Session, host: str, connected: Collection[str]) -> dict[str, list[Probe]]:
    """Return what units have written into a node's kernel, and do not write again by themselves, by unit.

    `connected` are the Nodes that say how their Pods are reached: to others there is no way yet, and nobody's fault.
    """
    found = {proxy.UNIT: _rules(session, host, proxy.UNIT),
             network.UNIT: [*_rules(session, host, network.UNIT), *_ways(session, host, connected)]}
    return {unit: probes for unit, probes in found.items() if probes}


def _ways(session: Session, host: str, nodes: Collection[str]) -> list[Probe]:
    """Return the probe of the ways to other nodes' Pods, where there is one device for all of them."""
    device = upkeep.overlay_device(session.cluster, session.cluster.machine(host))
    peers = {h.name: h.address for h in session.cluster.nodes if h.name in nodes and h.name != host}
    found = {"name": "Pod network", "kind": "ways", "device": device, "peers": peers, "shows": _watched(host)}
    return [found] if device and peers else []


def _watched(host: str) -> str:
    """Return the command that shows what was done about rules and ways that are gone."""
    return f"kubewright logs {host} {upkeep.UNIT.removesuffix('.service')}"


def _rules(session: Session, host: str, unit: str) -> list[Probe]:
    """Return the probe of the packet rules that a unit writes, where it writes any."""
    rules = [{"chain": r.chain, "has": r.has} for r in upkeep.rules(session.cluster, session.cluster.machine(host))
             if r.unit == unit]
    name = f"packet rules of {unit.removesuffix('.service')}"
    return [{"name": name, "kind": "rules", "rules": rules, "shows": _watched(host)}] if rules else []


def _cni(session: Session) -> list[Probe]:
    if session.cluster.network.plugin == "none":
        return []
    return [{"name": "CNI configuration", "kind": "file", "path": runtime.CNI_CONFIG}]


def vip_probes(session: Session) -> dict[str, list[Probe]]:
    """Return for every load balancer the probe that asks the API at the VIP; nothing where there is none."""
    api = session.cluster.api
    if api.vip is None:
        return {}
    return {h.name: [https("API at the VIP", str(api.vip), api.port)] for h in session.cluster.load_balancers}
