"""Start etcd members: all together the very first time, one at a time ever after."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from provisioner.compile import pki as table
from provisioner.compile.etcd import BOOTSTRAP_ENV, BOOTSTRAPPED
from provisioner.decide.batches import Standing
from provisioner.decide.etcd import successor_of
from provisioner.model.desired import File, Unit
from provisioner.model.etcd import EtcdStatus
from provisioner.model.observed import ABSENT
from provisioner.model.plan import Change
from provisioner.operate import etcd
from provisioner.orchestrate.gates import api_servers, etcd_members, proofs
from provisioner.orchestrate.phases import converge
from provisioner.orchestrate.plan.members import refuse as refuse_lost
from provisioner.orchestrate.plan.survey import read_certificates
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import way_back
from provisioner.orchestrate.turn.apply import Changes, apply_batch
from provisioner.orchestrate.turn.rotation import out_of_service

APISERVER_UNIT = "kube-apiserver.service"
NEW = "ETCD_INITIAL_CLUSTER_STATE=new\n"


def change_members(session: Session) -> str:
    """Apply etcd's changes; only where the cluster never was up do members start as parts of a new one."""
    changes = session.the_plan.of("etcd")
    if session.the_plan.bootstrap:
        hosts = [h.name for h in session.cluster.etcd_hosts]
        changes = {h: (_bootstrap_change(session, h), *changes.get(h, ())) for h in hosts}
    else:
        refuse_lost(session.the_plan)
    return converge.apply_changes(session, "etcd", changes, _members_are_back, _change_one, _ask)


def _members_are_back(session: Session, hosts: Sequence[str]) -> None:
    """Prove a batch: a member whose turn has not come yet still runs with the inputs it had."""
    proofs.phase_holds(session, "etcd", hosts)
    etcd_members.etcd_is_one_cluster(session)


def _ask(session: Session, hosts: Sequence[str]) -> Standing:
    """Let what serves nobody go first and the leader last; without a quorum the silent members start together.

    A member that is silent to us may still vote: as long as a quorum answers, us or its own hosts, it goes alone, and
    only while all others are well. That all are silent to us may mean no more than credentials that they refuse.
    Members whose certificates have expired start together as well: one that went alone would be let in by none.
    """
    members = etcd_members.members(session, [h.name for h in session.cluster.etcd_hosts])
    seen = {h: m for h, m in members.items() if isinstance(m, EtcdStatus)}
    silent = [h for h in hosts if h not in seen]
    serving = api_servers.api_servers_that_serve(session, [h for h in hosts if _server_of(session, h)])
    mute = [h for h in hosts if _server_of(session, h) and h not in serving]
    together = len(seen) <= len(members) // 2 and (_have_expired(session) or not etcd_members.a_quorum_serves(session))
    return Standing(down=frozenset(silent if together else ()), first=(*silent, *mute),
                    last=tuple(h for h, m in seen.items() if m.is_leader))


def _have_expired(session: Session) -> bool:
    """Say whether the members run with certificates that nobody accepts any more."""
    return any(not seen.is_valid(time.time()) for (_, path), seen in read_certificates(session).items()
               if path in (table.ETCD_SERVER.path, table.ETCD_PEER.path))


def _change_one(session: Session, step: str, changes: Changes) -> None:
    """Restart one member: nobody asks its host's API server meanwhile, which goes down and up with it, once.

    The API server is stopped, the member restarted and the API server started by one step on the host, which outlives
    us: a run that is killed leaves no API server stopped. systemd starts it when the member is ready (`After=`).
    """
    (host,) = changes
    etcd_members.other_members_serve(session, [host])
    server = _server_of(session, host)
    if server is None:
        _restart(session, step, host, changes[host], lambda: _member_is_back(session, host))
        return

    def both_are_back() -> None:
        _member_is_back(session, host)
        api_servers.api_server_is_back(session, host)

    with out_of_service(session, host):
        _restart(session, step, host, _with_server(session, server, host, changes[host]), both_are_back)
        session.early.add((server.phase, host))


def _restart(
    session: Session, step: str, host: str, changes: Sequence[Change], prove: Callable[[], None],
) -> None:
    """Change the member of `host` and prove it back; the others are asked again, for draining took its time."""
    _lead_elsewhere(session, host)
    etcd_members.other_members_serve(session, [host])
    way_back.apply_and_prove(session, step, {host: changes}, prove)


def _member_is_back(session: Session, host: str) -> None:
    _members_are_back(session, [host])
    etcd_members.member_has_caught_up(session, host)


def _server_of(session: Session, host: str) -> Unit | None:
    """Return the API server that runs beside the member, if there is one."""
    unit = session.the_plan.desired.hosts[host].find("unit", APISERVER_UNIT)
    there = session.observed[host].state("unit", APISERVER_UNIT) != ABSENT
    return unit if isinstance(unit, Unit) and there else None


def _with_server(session: Session, server: Unit, host: str, changes: Sequence[Change]) -> Sequence[Change]:
    """Return the member's changes between the API server's stop and its own changes, which end with its start."""
    planned = session.changes(server.phase).get(host, ())
    reason = next((c.reason for c in planned if c.path == server.path), f"{server.down_with} restarts")

    def act(action: str) -> Change:
        return Change(host=host, phase=server.phase, kind=server.kind, path=server.path, action=action, item=server,
                      reason=reason, expect=session.observed[host].state(server.kind, server.path), want=server.want())

    return (act("stop"), *changes, *(c for c in planned if c.path != server.path), act("start"))


def _lead_elsewhere(session: Session, host: str) -> None:
    """Let another member lead, so that the restart costs no election; nothing where `host`'s does not lead."""
    members = etcd_members.members(session, [h.name for h in session.cluster.etcd_hosts])
    own = members.pop(host)
    if not isinstance(own, EtcdStatus) or not own.is_leader:
        return
    successor = successor_of(own, [m for m in members.values() if isinstance(m, EtcdStatus)])
    if successor is None:
        return
    refused = ""
    session.still_ours()
    try:
        etcd.move_leader(session.etcd_access(host), successor)
    except etcd.EtcdFault as fault:         # it may have lost the leadership this very moment
        refused = f" ({fault.message})"

    def look() -> str:
        return f"{host} still leads{refused}" if etcd.status(session.etcd_access(host)).is_leader else ""

    proofs.wait_until(session, "etcd", look, 10.0, when="before", proof=f"{host} does not lead etcd")


def gate(session: Session) -> None:
    """Prove that the members are one healthy cluster; then let no member ever say `new` again."""
    proofs.phase_holds(session, "etcd")
    etcd_members.etcd_is_one_cluster(session)
    untold = [h.name for h in session.cluster.etcd_hosts if _is_untold(session, h.name)]
    if untold:
        apply_batch(session, "etcd.bootstrapped", {h: _remember(session, h) for h in untold})


def _is_untold(session: Session, host: str) -> bool:
    """Say whether this host may still say `new`: in a first run, or after one killed while it told the hosts."""
    observed = session.observed[host]
    return (session.the_plan.bootstrap or observed.state("file", BOOTSTRAPPED) == ABSENT
            or observed.state("file", BOOTSTRAP_ENV) != ABSENT)


def _bootstrap_change(session: Session, host: str) -> Change:
    """Return the file that says `new`: in /run, and removed once the gate has passed."""
    return _file_change(session, host, BOOTSTRAP_ENV, NEW, "first start of the cluster")


def _remember(session: Session, host: str) -> Sequence[Change]:
    present = File(path=BOOTSTRAP_ENV, phase="etcd", content=NEW).want()
    forget = Change(host=host, phase="etcd", kind="file", path=BOOTSTRAP_ENV, action="remove",
                    reason="the cluster is up", expect=present, want=ABSENT)
    marker = f"{session.cluster.cluster}\n"
    return (_file_change(session, host, BOOTSTRAPPED, marker, "the cluster is up"), forget)


def _file_change(session: Session, host: str, path: str, content: str, reason: str) -> Change:
    item = File(path=path, phase="etcd", content=content)
    state = session.observed[host].state("file", path)
    return Change(host=host, phase="etcd", kind="file", path=path, action="add" if state == ABSENT else "change",
                  reason=reason, expect=state, want=item.want(), item=item)
