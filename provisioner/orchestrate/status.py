"""What `status` and `ready` tell: asked from the machines each time, nothing remembered."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from provisioner.errors import KubewrightError
from provisioner.model.cluster import Role
from provisioner.model.desired import Unit
from provisioner.operate import etcd, kube
from provisioner.orchestrate import lock
from provisioner.orchestrate.gates import MOMENT
from provisioner.orchestrate.phase import counted
from provisioner.orchestrate.probes import control_plane_probe
from provisioner.orchestrate.session import Session
from provisioner.orchestrate.survey import read_certificates, survey
from provisioner.transport import remote


@dataclass
class HostStatus:
    """One row: `-` where the host has no such thing, `?` where it could not be seen."""

    host: str
    roles: str
    version: str = "?"
    api: str = "-"
    etcd: str = "-"
    kubelet: str = "-"
    certs_days: int | None = None
    drift: int | None = None
    units_down: list[str] = field(default_factory=list)


@dataclass
class Status:
    """The cluster as it is now; healthy means that nothing stands under `attention`.

    `lock` says which run holds the cluster's lock; a run at work is no fault of the cluster.
    """

    cluster: str
    kubernetes: str
    api: str
    vip_holder: str
    quorum: str
    hosts: list[HostStatus]
    attention: list[str]
    seconds: float
    lock: str = ""

    @property
    def healthy(self) -> bool:
        return not self.attention

    def to_json(self) -> Mapping[str, Any]:
        """Return the status as plain values."""
        return {"healthy": self.healthy, **asdict(self)}


def look(session: Session) -> Status:
    """Ask every host and the API; raises Unreachable only when no host answers SSH."""
    began = time.monotonic()
    plan = survey(session, partial=True)
    cluster = session.cluster
    attention: list[str] = []
    rows = {h.name: HostStatus(h.name, " ".join(_short(r) for r in Role if r in h.roles)) for h in cluster.machines}
    _certificates(session, rows)
    attention += [fault.message for fault in session.unreachable.values()]
    _unseen(session, rows)
    for name in session.observed:
        row = rows[name]
        row.drift = sum(1 for c in plan.changes if c.host == name and c.kind != "unit")
        row.units_down = [i.path for i in plan.desired.hosts[name].items if isinstance(i, Unit)
                          and not session.observed[name].state("unit", i.path).startswith("active ")]
        attention += [f"{name}: {unit} is not running" for unit in row.units_down]
        if row.drift:
            attention.append(f"{name}: {counted(row.drift, 'difference')} from the inventory: kubewright plan")
    attention += [f"{name}: left out of service in the HAProxy of {', '.join(hosts)}: kubewright up"
                  for name, hosts in plan.left_out.items()]
    attention += _api(session, rows)
    attention += _nodes(session, rows)
    quorum, faults = _etcd(session, rows)
    attention += faults
    holder = _vip(session)
    if holder.startswith("!"):
        attention.append(holder[1:])
    return Status(cluster.cluster, cluster.kubernetes, cluster.api_endpoint, holder.lstrip("!"), quorum,
                  list(rows.values()), attention, round(time.monotonic() - began, 1), lock.line(session))


def _unseen(session: Session, rows: Mapping[str, HostStatus]) -> None:
    """Mark what hosts that do not answer may have: not seen is neither up nor down."""
    for host in session.cluster.control_planes:
        if host.name in session.unreachable:
            rows[host.name].api = "?"
    for host in session.cluster.etcd_hosts:
        if host.name in session.unreachable:
            rows[host.name].etcd = "?"


def _short(role: Role) -> str:
    return {Role.CONTROL_PLANE: "cp", Role.LOAD_BALANCER: "lb"}.get(role, str(role))


def _certificates(session: Session, rows: Mapping[str, HostStatus]) -> None:
    now = time.time()
    for (host, _), seen in read_certificates(session).items():
        days = int((seen.not_after - now) // 86400)
        least = rows[host].certs_days
        rows[host].certs_days = days if least is None else min(days, least)


def _api(session: Session, rows: Mapping[str, HostStatus]) -> list[str]:
    control_planes = session.reachable([h.name for h in session.cluster.control_planes])
    probes = {host: control_plane_probe(session, host) for host in control_planes}
    outcomes = session.pool.map(lambda c: remote.probe(c, [probes[c.name]], MOMENT), probes)
    faults = []
    for host, answer in outcomes.items():
        good = not isinstance(answer, KubewrightError) and bool(answer["ok"])
        rows[host].api = "ok" if good else "down"
        if not good:
            reason = answer.message if isinstance(answer, KubewrightError) else answer["results"][0]["reason"]
            faults.append(f"{host}: API: {reason}")
    return faults


def _nodes(session: Session, rows: Mapping[str, HostStatus]) -> list[str]:
    try:
        nodes = {str(n["metadata"]["name"]): n for n in session.kube().nodes()}
    except KubewrightError as fault:
        return [f"API: {fault.message}"]
    faults = []
    for host in session.cluster.nodes:
        node = nodes.get(host.name)
        ready = node is not None and kube.is_ready(node)
        rows[host.name].kubelet = "Ready" if ready else "NotReady" if node else "absent"
        rows[host.name].version = node["status"]["nodeInfo"]["kubeletVersion"].lstrip("v") if node else "?"
        if not ready:
            faults.append(f"{host.name}: kubelet: {kube.why_not_ready(node) if node else 'not registered'}")
    return faults


def _etcd(session: Session, rows: Mapping[str, HostStatus]) -> tuple[str, list[str]]:
    hosts = [h.name for h in session.cluster.etcd_hosts]
    statuses, faults = [], []
    for host in session.reachable(hosts):
        try:
            seen = etcd.status(session.etcd_access(host))
        except KubewrightError as fault:
            rows[host].etcd = "down"
            faults.append(f"{host}: {fault.message}")
            continue
        statuses.append(seen)
        rows[host].etcd = f"{'leader' if seen.is_leader else 'member'} {seen.db_size / 1e6:.1f} MB"
    faults += [f"etcd: {d}" for d in etcd.disagreements(statuses, hosts)]
    spare = len(statuses) - (len(hosts) // 2 + 1)
    return f"{len(statuses)} of {len(hosts)}, can lose {max(0, spare)}", faults


def _vip(session: Session) -> str:
    """Return who holds the VIP; beginning with `!` where that is not exactly one host."""
    vip = session.cluster.api.vip
    if vip is None:
        return "-"
    holders = [name for name, o in session.observed.items() if o.facts.interface_of(str(vip))]
    if len(holders) == 1:
        return holders[0]
    unseen = [h.name for h in session.cluster.load_balancers if h.name in session.unreachable]
    if unseen and not holders:
        return f"!VIP {vip} is on no host that answers; not seen: {', '.join(unseen)}"
    return f"!VIP {vip} is on {', '.join(holders) or 'no host'}; it belongs on exactly one"
