"""What must hold on a host, as probes for its applier to poll: see `probe` in docs/reference/applier-protocol.md."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from provisioner.compile import networks, proxy, upkeep
from provisioner.compile import pki as table
from provisioner.model.components import BY_NAME, Answer, on_host
from provisioner.model.desired import HostDesired, Unit
from provisioner.model.endpoint import Endpoint
from provisioner.model.phases import PhaseName
from provisioner.orchestrate.session.session import Session

Probe = dict[str, Any]
DNS, SERVICE = "cluster DNS", "Service address of the API"
_MEMBER, _SERVER = (BY_NAME[name].answers[0] for name in ("etcd", "kube-apiserver"))
API_IS_READY = _SERVER.name


def https(name: str, address: str, port: int, path: str = "/readyz") -> Probe:
    """Return the probe that asks an API server, whose certificate is verified, with the health client's own."""
    return {"name": name, "kind": "http", "url": f"{Endpoint(address, port).url}{path}", "ca": table.CA,
            "cert": table.HAPROXY.path, "key": table.HAPROXY.key_path, "status": 200}


def host_probes(session: Session, host: str, phase: PhaseName, *, again: bool = False) -> list[Probe]:
    """Return what must hold on `host` after `phase`: each of its units current, active, staying up, and answering.

    `again` is for what comes after the phases' own gates: where the run restarted anything, units may have exited since
    with good reason (a leader that lost its lease), so exits no longer count.
    """
    desired: HostDesired = session.the_plan.desired.hosts[host]
    units = [i for i in desired.of_phase(phase) if isinstance(i, Unit)]
    probes = [_unit(session, host, u, again=again) for u in units]
    return probes + _extra(session, host, phase, units) if units else probes


def probes_of(session: Session, phases: Collection[PhaseName], *, again: bool = False) -> dict[str, list[Probe]]:
    """Return what must hold on every host after these phases; with `control-plane` among them, at the VIP too."""
    found = {host: [p for phase in phases for p in host_probes(session, host, phase, again=again)]
             for host in session.the_plan.desired.hosts}
    for host, probe in vip_probes(session).items() if "control-plane" in phases else ():
        found.get(host, []).extend(probe)
    return found


def _unit(session: Session, host: str, unit: Unit, *, again: bool) -> Probe:
    """Return a unit's probe; `since_restarts` lets one that cannot stay up fail at once instead of at the deadline."""
    probe: Probe = {"name": unit.path, "kind": "unit", "unit": unit.path, "current": True}
    if host in session.run.as_they_run:   # how often it exited before says nothing, only its own list what it reads
        return probe | {"listed": True}
    probe["inputs"] = list(unit.inputs)
    started, observed = session.the_plan.started, session.observed.get(host)
    if not (again and started):
        before = observed.extra("unit", unit.path).get("restarts", 0) if observed else 0
        probe["since_restarts"] = 0 if (host, unit.path) in started else int(before)
    return probe


def control_plane_probe(session: Session, host: str) -> Probe:
    """Return the probe of `host`'s own API server, past every load balancer."""
    return asked(_SERVER, session.cluster.machine(host).address)


def _extra(session: Session, host: str, phase: PhaseName, units: Sequence[Unit]) -> list[Probe]:
    """Return what the components of a phase answer on `host`, and what their units write into its kernel."""
    machine = session.cluster.machine(host)
    answers = [asked(answer, machine.address) for row in on_host(session.cluster, machine) if row.phase == phase
               for answer in row.answers]
    cni = networks.of(session.cluster).cni_config if phase == "network" else ""
    if cni:
        answers.append({"name": "CNI configuration", "kind": "file", "path": cni})
    return [*answers, *(probe for unit in units for probe in _rules(session, host, unit.path))]


def asked(answer: Answer, own: str = "") -> Probe:
    """Return the probe that asks for what a component answers, on the host whose `own` address is this."""
    address = own if answer.outward else "127.0.0.1"
    if answer.kind == "tcp":
        return {"name": answer.name, "kind": "tcp", "address": address, "port": answer.port}
    if answer.kind == "https":
        return https(answer.name, address, answer.port, answer.path)
    return {"name": answer.name, "kind": "http", "status": 200,
            "url": f"http://{Endpoint(address, answer.port)}{answer.path}"}


MEMBER_IS_READY = asked(_MEMBER)


def node_probes(session: Session, host: str) -> list[Probe]:
    """Return what only the cluster as a whole makes true on a node: ways to all others, Services, and names.

    Nothing of it is asked in the gates of single phases: other hosts may be what it lacks.
    """
    cluster = session.cluster
    service = str(cluster.kubernetes_service_ip)
    found = [https(SERVICE, service, 443)]
    if host in session.target.waits_for_cni:
        return found
    found += _ways(session, host, session.answering(cluster.nodes))
    return [*found, {"name": DNS, "kind": "dns", "server": cluster.dns_ip, "answer": service,
                     "query": cluster.kubernetes_service_name}]


def lasting_probes(session: Session, host: str, connected: Collection[str]) -> dict[str, list[Probe]]:
    """Return what units have written into a node's kernel, and do not write again by themselves, by unit.

    `connected` are the Nodes that say how their Pods are reached: to others there is no way yet, and nobody's fault.
    """
    pods = networks.of(session.cluster).unit
    found = {proxy.UNIT: _rules(session, host, proxy.UNIT),
             pods: [*_rules(session, host, pods), *_ways(session, host, connected)]}
    return {unit: probes for unit, probes in found.items() if probes}


def _ways(session: Session, host: str, nodes: Collection[str]) -> list[Probe]:
    """Return the probe of the ways to other nodes' Pods, where there is one device for all of them."""
    device = networks.of(session.cluster).device(session.cluster, session.cluster.machine(host))
    peers = {h.name: h.address for h in session.cluster.nodes if h.name in nodes and h.name != host}
    found = {"name": "Pod network", "kind": "ways", "device": device, "peers": peers, "shows": _watched(host)}
    return [found] if device and peers else []


def _watched(host: str) -> str:
    """Return the command that shows what was done about rules and ways that are gone."""
    return f"kubewright logs {host} {upkeep.UNIT.removesuffix('.service')}"


def _rules(session: Session, host: str, unit: str) -> list[Probe]:
    """Return the probe of the packet rules that a unit writes, where it writes any."""
    system = session.system_of(host)
    rules = [{"chain": r.chain, "has": r.has}
             for r in upkeep.rules(session.cluster, session.cluster.machine(host), system) if r.unit == unit]
    name = f"packet rules of {unit.removesuffix('.service')}"
    return [{"name": name, "kind": "rules", "rules": rules, "shows": _watched(host)}] if rules else []


def vip_probes(session: Session) -> dict[str, list[Probe]]:
    """Return for every load balancer the probe that asks the API at the VIP; nothing where there is none."""
    api = session.cluster.api
    if api.vip is None:
        return {}
    return {h.name: [https("API at the VIP", str(api.vip), api.port)] for h in session.cluster.load_balancers}
