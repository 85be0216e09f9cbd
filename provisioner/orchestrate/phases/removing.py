"""Take away what is ours and no longer desired: what a host can put back first, when that is proved the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from provisioner.compile import removal
from provisioner.decide import moving
from provisioner.model.phases import PHASES
from provisioner.model.plan import Change
from provisioner.operate import nodes
from provisioner.orchestrate.gates import etcd_members, proofs
from provisioner.orchestrate.phases import converge, membership
from provisioner.orchestrate.session import telling
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import apply, guards

NAME: Final = removal.PHASE
_PROVED = PHASES[PHASES.index("runtime"):PHASES.index(NAME)]


def take_away(session: Session) -> str:
    """Make the removals of every host, and delete the Nodes of those that are none any more.

    Members of etcd whose unit is among them are taken out before: their units would be missed otherwise.
    """
    changes = session.changes(NAME)
    _take_members_out(session, [host for host, of_host in changes.items() if any(
        (c.kind, c.path) == moving.MEMBER for c in of_host)])
    back, final = _part(changes, removal.goes_back), _part(changes, lambda c: not removal.goes_back(c))
    converge.apply_changes(session, NAME, back, lambda s, turn: _others_hold(s, turn.hosts))
    delete_nodes(session, [host for host in session.observed if host not in session.unreachable])
    if final:
        session.run.safe_point()
        apply.apply_batch(session, f"{NAME}.rest", final)
    return converge.summary(changes)


def _take_members_out(session: Session, hosts: Sequence[str]) -> None:
    """Take the members that still vote out of etcd, one at a time, all others being well; no API server counts on them.
    """
    going = [host for host in hosts if host in session.target.still_members]
    answers = etcd_members.answering(session, going)
    leader = next((host for host, answer in answers.items() if answer.is_leader), "")
    for host in moving.order(going, leader):
        session.run.safe_point()
        session.run.works_on(f"taking {host} out of etcd")
        guards.hand_over(session, host)
        membership.take_out(session, host)


def _part(changes: apply.Changes, belongs: Callable[[Change], bool]) -> dict[str, Sequence[Change]]:
    parted = {host: [c for c in of_host if belongs(c)] for host, of_host in changes.items()}
    return {host: of_host for host, of_host in parted.items() if of_host}


def _others_hold(session: Session, hosts: Sequence[str]) -> None:
    """Prove that what stays on the hosts serves without what was taken away."""
    for phase in _PROVED:
        proofs.phase_holds(session, phase, hosts)


def delete_nodes(session: Session, hosts: Sequence[str]) -> None:
    """Delete the Nodes of hosts that the plan says; their kubelets are gone, and would register them again."""
    names = {f"{nodes.KIND}{host}" for host in hosts}
    changes = [o for o in session.the_plan.objects if o.phase == NAME and o.identity in names]
    if not changes:
        return
    kube = session.access.kube()
    session.run.still_ours()
    for change in changes:
        nodes.delete(kube, change.identity.removeprefix(nodes.KIND))
    telling.of_objects(session, changes)
