"""May `up` begin? Nothing that serves is restarted while writes are refused or nobody can see the cluster."""

from __future__ import annotations

import time
from collections.abc import Collection

from provisioner.compile.rules import CLUSTER_ILL
from provisioner.errors import RefusedForSafety
from provisioner.model.etcd import EtcdStatus, quorum
from provisioner.model.finding import Finding
from provisioner.operate import health as judge
from provisioner.orchestrate.gates import api_servers, etcd_members, health
from provisioner.orchestrate.plan.survey import read_certificates
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.watch import prober
from provisioner.report.findings import lines


def to_begin(session: Session, allowed: Collection[str] = (), verb: str = "up") -> None:
    """Raise RefusedForSafety where the plan would restart what serves and the cluster is too unhealthy for that.

    `allowed` may name CLUSTER_ILL, where the change itself is the cure. A cluster that serves nobody is not asked for
    leave: what is done to it is its repair. Nor is one with certificates that have expired, which may be all that keeps
    us from seeing it.
    """
    if not prober.restarts(session.the_plan) or CLUSTER_ILL in allowed:
        return
    sight = health.look(session, health.SERVING)
    if sight.ill:
        session.access.forget_credentials()    # they may be what this run renews
    refused = [f for f in sight.ill if f.check in ("etcd-alarms", judge.ROOM, judge.LAG, "writes")]
    refused += _unseen(session, sight)
    if not refused or (_has_expired(session) and not any(f.check == "etcd-alarms" for f in refused)):
        return
    said = lines(refused)
    serving = api_servers.api_servers_that_serve(session, [h.name for h in session.cluster.control_planes])
    full = any(f.check in ("etcd-alarms", judge.ROOM) for f in refused)
    way = (f"where the change itself is the cure: kubewright up --allow {CLUSTER_ILL}" if verb == "up" else
           f"when the cluster is well: {session.run.go_on or f'kubewright {verb}'}")
    raise RefusedForSafety(
        f"restarting nothing: {said[0]}", code=CLUSTER_ILL, hint=f"kubewright {'etcd defrag' if full else 'status'}",
        details=[*said[1:], f"nothing was changed; API servers ready: {', '.join(serving) or 'none'}",
                 way])


def _unseen(session: Session, sight: health.Sight) -> list[Finding]:
    """Return what we cannot see of a cluster that serves by its own hosts' word."""
    names = session.members
    seen = [m for m in sight.members.values() if isinstance(m, EtcdStatus)]
    found = []
    if len(seen) < quorum(len(names)) and etcd_members.a_quorum_serves(session):
        found += [f for f in sight.ill if f.check in ("etcd", "reach")]
    servers = [h.name for h in session.cluster.control_planes]
    if sight.nodes is None and api_servers.api_servers_that_serve(session, servers):
        found += [f for f in sight.ill if f.check in ("api", "reach")]
    return list(dict.fromkeys(found))


def _has_expired(session: Session) -> bool:
    now = time.time()
    return any(not seen.is_valid(now) for seen in read_certificates(session).values())
