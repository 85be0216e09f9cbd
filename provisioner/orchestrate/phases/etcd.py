"""Start etcd members: all together the very first time, one at a time ever after."""

from __future__ import annotations

import time
from collections.abc import Sequence

from provisioner.compile import pki as table
from provisioner.decide.batches import Standing
from provisioner.model.desired import Unit
from provisioner.model.etcd import quorum
from provisioner.model.observed import ABSENT
from provisioner.model.plan import Turn
from provisioner.orchestrate.gates import api_servers, etcd_members, proofs
from provisioner.orchestrate.phases import converge, membership, new_cluster, together
from provisioner.orchestrate.plan.members import refuse as refuse_lost
from provisioner.orchestrate.plan.survey import read_certificates
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn.apply import apply_batch, over_connections

APISERVER_UNIT = "kube-apiserver.service"


def change_members(session: Session) -> str:
    """Apply etcd's changes; only where the cluster never was up do members start as parts of a new one."""
    if not session.the_plan.bootstrap:
        refuse_lost(session)
        membership.clear(session)
    new = session.the_plan.joining      # after all that votes has its changes and is well
    changes = together.changes(session, "etcd")
    there = {host: of_host for host, of_host in changes.items() if host not in new}
    done = together.told(session, "etcd", converge.apply_changes(session, "etcd", there, _members_are_back, _ask))
    joined = membership.follow(session, {host: changes[host] for host in new if host in changes})
    return "; ".join(text for text in (done, joined) if text)


def _members_are_back(session: Session, turn: Turn) -> None:
    """Prove a turn: a member whose turn has not come yet still runs with the inputs it had.

    One that others could do without has to catch up, and its host's API server, which went down with it, to be ready.
    """
    proofs.phase_holds(session, "etcd", turn.hosts)
    etcd_members.etcd_is_one_cluster(session)
    for host in turn.hosts if turn.guards else ():
        etcd_members.member_has_caught_up(session, host)
        server = _server_of(session, host)
        if server is not None:
            api_servers.api_server_is_back(session, host, with_its_inputs=server.phase in turn.phases)


def _ask(session: Session, hosts: Sequence[str]) -> Standing:
    """Let what serves nobody go first and the leader last; without a quorum the silent members start together.

    A member that is silent to us may still vote: as long as a quorum answers, us or its own hosts, it goes alone, and
    only while all others are well. That all are silent to us may mean no more than credentials that they refuse.
    Members whose certificates have expired start together as well: one that went alone would be let in by none.
    """
    seen = etcd_members.answering(session, session.members)
    silent = [h for h in hosts if h not in seen]
    serving = api_servers.api_servers_that_serve(session, [h for h in hosts if _server_of(session, h)])
    mute = [h for h in hosts if _server_of(session, h) and h not in serving]
    together = len(seen) < quorum(len(session.members)) and (
        _have_expired(session) or not etcd_members.a_quorum_serves(session))
    return Standing(down=frozenset(silent if together else ()), first=(*silent, *mute),
                    last=tuple(h for h, m in seen.items() if m.is_leader))


def _have_expired(session: Session) -> bool:
    """Say whether the members run with certificates that nobody accepts any more."""
    return any(not seen.is_valid(time.time()) for (_, path), seen in read_certificates(session).items()
               if path in (table.ETCD_SERVER.path, table.ETCD_PEER.path))


def _server_of(session: Session, host: str) -> Unit | None:
    """Return the API server that runs beside the member, if there is one."""
    unit = session.the_plan.desired.hosts[host].find("unit", APISERVER_UNIT)
    return unit if isinstance(unit, Unit) and session.state_of(host, APISERVER_UNIT) != ABSENT else None


def gate(session: Session) -> None:
    """Prove that the members are one healthy cluster; then let no member ever say `new` again."""
    proofs.phase_holds(session, "etcd")
    etcd_members.etcd_is_one_cluster(session)
    untold = [h.name for h in session.cluster.etcd_hosts if new_cluster.is_untold(session, h.name)]
    if untold:
        apply_batch(session, "etcd.bootstrapped", {h: new_cluster.over(session, h) for h in untold}, over_connections)
