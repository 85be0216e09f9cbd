"""Give the room that deleted data took back to the disk, one member at a time: it answers nobody meanwhile."""

from __future__ import annotations

from provisioner.compile.etcd import quota_of
from provisioner.errors import KubewrightError
from provisioner.model.etcd import EtcdStatus
from provisioner.model.guards import LEADS_ELSEWHERE, OUT_OF_SERVICE
from provisioner.model.plan import Turn
from provisioner.operate import etcd
from provisioner.operate.health import FULL
from provisioner.orchestrate.gates import etcd_members
from provisioner.orchestrate.session.phase import Phase, counted
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import guards

SLACK = 60.0            # seconds beside the copying
RATE = 5_000_000        # bytes a second that any disk for etcd writes


def defragment(session: Session) -> str:
    """Defragment every member, the leader last; its API server is out of service and another member leads meanwhile.

    Where there is room again, the alarm NOSPACE is ended: without that every write goes on to be refused.
    """
    hosts, freed = order(session), 0
    for number, host in enumerate(hosts):
        if number:
            session.run.safe_point()
        session.run.works_on(f"defragmenting {host}", hosts[number + 1:])
        with guards.hold(session, Turn((host,), ("etcd",), (OUT_OF_SERVICE, LEADS_ELSEWHERE))):
            access = session.access.etcd(host)
            before = etcd.status(access).db_size
            session.run.still_ours()
            etcd.defragment(access, timeout=SLACK + before / RATE)
            etcd_members.member_has_caught_up(session, host)
            freed += before - etcd.status(access).db_size
        etcd_members.etcd_is_one_cluster(session)
    ended = _end_alarms(session)
    return f"{counted(len(hosts), 'member')}, {freed / 1e6:.1f} MB freed" + (f", {ended} ended" if ended else "")


def order(session: Session) -> list[str]:
    """Return the members' hosts, the leader's last; raises the fault of one that does not answer."""
    answers = etcd_members.members(session, [h.name for h in session.cluster.etcd_hosts])
    for answer in answers.values():
        if isinstance(answer, KubewrightError):
            raise answer
    return sorted(answers, key=lambda host: isinstance(a := answers[host], EtcdStatus) and a.is_leader)


def _end_alarms(session: Session) -> str:
    """End NOSPACE of the members that have room; etcd raises it again at once where that is not so."""
    host = session.cluster.etcd_hosts[0].name
    raised = [a for a in etcd.alarms(session.access.etcd(host)) if a.kind == "NOSPACE"]
    full = [h.name for h in session.cluster.etcd_hosts if 0 < FULL * quota_of(session.cluster, h.name)
            <= etcd.status(session.access.etcd(h.name)).db_size]
    if not raised or full:
        return ""
    for alarm in raised:
        session.run.still_ours()
        etcd.disarm(session.access.etcd(host), alarm)
    return counted(len(raised), "alarm NOSPACE")


PHASES: tuple[Phase, ...] = (
    Phase("etcd", "each member gives room back to its disk, the leader last", defragment,
          etcd_members.etcd_is_one_cluster),
)
