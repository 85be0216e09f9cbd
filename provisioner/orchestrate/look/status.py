"""What `status` and `ready` tell: asked from the machines each time, nothing remembered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from provisioner.model.cluster import Role
from provisioner.model.desired import Unit
from provisioner.model.draining import is_ready
from provisioner.model.etcd import EtcdStatus, quorum
from provisioner.model.finding import Finding
from provisioner.operate import haproxy, snapshots
from provisioner.operate import health as judge
from provisioner.operate.snapshots import OnHost
from provisioner.orchestrate.gates import health
from provisioner.orchestrate.lock import cluster_lock
from provisioner.orchestrate.look import trials
from provisioner.orchestrate.plan.survey import SUMMARY, read_certificates, survey
from provisioner.orchestrate.session.phase import counted
from provisioner.orchestrate.session.session import Session
from provisioner.parallel import ask_all
from provisioner.report.findings import lines


@dataclass
class HostStatus:
    """One row: `-` where the host has no such thing, `?` where it could not be seen.

    `certs_left` are seconds, `units` says which run, `backends` which API servers the host's HAProxy gives new
    connections; each is empty where it was not seen.
    """

    host: str
    roles: str
    version: str = "?"
    api: str = "-"
    etcd: str = "-"
    kubelet: str = "-"
    certs_days: int | None = None
    drift: int | None = None
    units_down: list[str] = field(default_factory=list)
    certs_left: float | None = None
    units: dict[str, bool] = field(default_factory=dict)
    backends: dict[str, bool] = field(default_factory=dict)


@dataclass
class Status:
    """The cluster as it is now; healthy means that nothing stands under `attention`.

    `findings` are what the lines of `attention` and `warnings` were made from. `built` is whether there is a cluster
    yet; where there is none, nothing else was asked. `vip_holder` names all hosts that have the VIP, `-` where the
    cluster has no VIP. `lock` says which run holds the cluster's lock; a run at work is no fault of the cluster.
    `snapshots` says how old the newest of etcd is, kept here or on a host, and the newest that was proved. `trial` says
    which minor of Kubernetes is on trial and until when, "" where none is.
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
    warnings: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    built: bool = True
    snapshots: str = ""
    trial: str = ""

    @property
    def healthy(self) -> bool:
        return not self.attention

    def to_json(self) -> Mapping[str, Any]:
        """Return the status as plain values."""
        return {"healthy": self.healthy, **asdict(self), "findings": [f.to_json() for f in self.findings]}


def look(session: Session) -> Status:
    """Ask every host and the API; raises Unreachable only when no host answers SSH."""
    return look_closely(session)[0]


def look_closely(session: Session, beside: Callable[[], object] = tuple) -> tuple[Status, health.Sight]:
    """Return with the status what it was made from, for who asks further; raises as `look` does.

    `beside` is called while the questions are asked: what hosts are asked at the same time costs no time of its own.
    """
    began = time.monotonic()
    plan = survey(session, partial=True)
    cluster = session.cluster
    rows = {h.name: HostStatus(h.name, " ".join(_short(r) for r in Role if r in h.roles)) for h in cluster.machines}
    found = [judge.failed("reach", host, fault) for host, fault in session.unreachable.items()]
    built = not plan.bootstrap or any(h.name in session.unreachable for h in cluster.etcd_hosts)
    sight = health.Sight()
    if built:
        found += _differences(session, rows)
        asks: dict[str, Callable[[], object]] = {
            "sight": lambda: health.look(session, health.QUESTIONS), "beside": beside}
        answers = ask_all(lambda ask: asks[ask](), asks, workers=len(asks), name="look")
        sight = answers["sight"] if isinstance(answers["sight"], health.Sight) else sight
        _fill(session, rows, sight)
    else:
        found.append(Finding("built", "", "error", "not built yet", "kubewright up", expected="there is a cluster"))
    found += sight.findings
    now = time.time()
    here, kept = snapshots.newest(session.target.inventory.snapshots_dir, now), kept_on_hosts(session, now)
    found += [*snapshots.of_proofs(kept), *trials.lapsed(session, now)]
    members = [h.name for h in cluster.etcd_hosts]
    status = Status(
        cluster.cluster, cluster.kubernetes, str(cluster.api_endpoint), _holders(session, sight),
        judge.quorum_words(members, sight.members) if built else "-", list(rows.values()),
        lines(f for f in found if f.severity != "warning"), round(time.monotonic() - began, 1),
        cluster_lock.line(session), lines(f for f in found if f.severity == "warning"), found, built,
        snapshots.line(snapshots.of_all(here, kept)) if built else "", trials.line(session))
    return status, sight


def kept_on_hosts(session: Session, now: float) -> dict[str, OnHost]:
    """Return what the hosts' timers keep, where the inventory asks for them and the host was seen."""
    found = {}
    for name, seen in session.observed.items():
        text = seen.extra(SUMMARY.kind, SUMMARY.path).get("text")
        if text is not None:
            found[name] = snapshots.on_host(str(text), now)
    return found


def _short(role: Role) -> str:
    return {Role.CONTROL_PLANE: "cp", Role.LOAD_BALANCER: "lb"}.get(role, str(role))


def _differences(session: Session, rows: Mapping[str, HostStatus]) -> list[Finding]:
    """Fill in what each host differs in from the inventory, and tell what `up` would put right."""
    plan = session.the_plan
    now = time.time()
    for (host, _), seen in read_certificates(session).items():
        left, least = seen.not_after - now, rows[host].certs_left
        rows[host].certs_left = round(left if least is None else min(left, least))
    for row in rows.values():
        row.certs_days = None if row.certs_left is None else int(row.certs_left // 86400)
    found = []
    for name in session.observed:
        drift = rows[name].drift = sum(1 for c in plan.changes if c.host == name and c.kind != "unit")
        if drift:
            found.append(Finding("drift", name, "error", f"{counted(drift, 'difference')} from the inventory",
                                 "kubewright plan", expected="nothing differs from the inventory"))
    found += [Finding("in-service", name, "error", f"left out of service in the HAProxy of {', '.join(hosts)}",
                      "kubewright up", expected="every API server is in service in every HAProxy")
              for name, hosts in plan.drained_servers.items()]
    members = [h.name for h in session.cluster.etcd_hosts]
    gone = [name for name in members if name in session.unreachable]
    if len(members) - len(gone) < quorum(len(members)):
        gone = []       # without a majority nobody can be replaced, and it may well be the way from here
    found += [Finding("member-gone", host, "warning",
                      "etcd counts on its member; where the machine never comes back, another takes its name, or it "
                      f"goes (out of cluster.yaml, then kubewright node remove {host} --lost)",
                      f"kubewright node replace {host}",
                      expected="the host of a member answers") for host in gone]
    return found + [Finding("member-data", m.host, "error", m.saw,
                            m.typed or "kubewright plan",
                            expected="a member has its own data") for m in plan.lost]


def _fill(session: Session, rows: Mapping[str, HostStatus], sight: health.Sight) -> None:
    """Fill in what was seen of each host: `?` where it was not."""
    for name, down in sight.down.items():
        rows[name].units_down = down
        units = (i.path for i in session.the_plan.desired.hosts[name].items if isinstance(i, Unit))
        rows[name].units = {unit: unit not in down for unit in units}
    for name, observed in session.observed.items():
        servers = haproxy.seen_by(haproxy.said(observed)) or {}
        rows[name].backends = {server: seen.in_service for server, seen in servers.items()}
    for host in session.cluster.control_planes:
        rows[host.name].api = {True: "ok", False: "down", None: "?"}[sight.api.get(host.name)]
    for host in session.cluster.etcd_hosts:
        seen = sight.members.get(host.name)
        if isinstance(seen, EtcdStatus):
            rows[host.name].etcd = f"{'leader' if seen.is_leader else 'member'} {seen.db_size / 1e6:.1f} MB"
        else:
            rows[host.name].etcd = "?" if seen is None or judge.is_unseen(seen) else "down"
    for host in session.cluster.nodes:
        row, node = rows[host.name], (sight.nodes or {}).get(host.name)
        if sight.nodes is None:
            row.kubelet = "?"
        else:
            row.kubelet = "absent" if node is None else "Ready" if is_ready(node) else "NotReady"
        row.version = node["status"]["nodeInfo"]["kubeletVersion"].lstrip("v") if node else "?"


def _holders(session: Session, sight: health.Sight) -> str:
    if session.cluster.api.vip is None:
        return "-"
    if sight.holders is None:
        return "?"
    return ", ".join(sight.holders) or "no host seen"
