"""What is held while hosts of a live cluster change: asked before, held until the proof, let go whatever happens.

decide/turns.py says which guards a turn has; here is what each of them does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple

from provisioner.decide.etcd import successor_of
from provisioner.model.etcd import EtcdStatus
from provisioner.model.guards import DRAINED, LEADS_ELSEWHERE, OTHERS_BALANCE, OUT_OF_SERVICE, VIP_LEAVES
from provisioner.model.plan import Turn
from provisioner.operate import etcd
from provisioner.orchestrate.gates import api_servers, etcd_members, proofs
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn.drained import held, others_are_ready
from provisioner.orchestrate.turn.rotation import out_of_service

HANDOVER = 10.0     # seconds for another member to lead


class Guard(NamedTuple):
    """`may` refuses (GateFailed) while a turn would take away what others need; `held` keeps it so meanwhile."""

    may: Callable[[Session, Sequence[str]], None]
    held: Callable[[Session, Sequence[str]], AbstractContextManager[None]]


@contextmanager
def hold(session: Session, turn: Turn) -> Iterator[None]:
    """Hold all guards of a turn during the block: every one is asked first, then entered in their order."""
    guards = [GUARDS[name] for name in turn.guards]
    for guard in guards:
        guard.may(session, turn.hosts)
    with ExitStack() as stack:
        for guard in guards:
            stack.enter_context(guard.held(session, turn.hosts))
        yield


def _nothing(session: Session, hosts: Sequence[str]) -> None:
    """Ask nothing: what is held asks all there is to ask."""


@contextmanager
def _out_of_service(session: Session, hosts: Sequence[str]) -> Iterator[None]:
    with ExitStack() as stack:
        for host in hosts:
            stack.enter_context(out_of_service(session, host))
        yield


@contextmanager
def _leads_elsewhere(session: Session, hosts: Sequence[str]) -> Iterator[None]:
    """Let others lead, so that a restart costs no election; the others are asked again, for draining took its time."""
    for host in hosts:
        hand_over(session, host)
    etcd_members.other_members_serve(session, hosts)
    yield


def hand_over(session: Session, host: str) -> None:
    """Let another member lead; nothing where `host`'s does not, or no other can."""
    members = etcd_members.members(session, session.members)
    own = members.pop(host, None)       # none: it was taken out before its unit ends
    if not isinstance(own, EtcdStatus) or not own.is_leader:
        return
    successor = successor_of(own, [m for m in members.values() if isinstance(m, EtcdStatus)])
    if successor is None:
        return
    refused = ""
    session.run.still_ours()
    try:
        etcd.move_leader(session.access.etcd(host), successor)
    except etcd.EtcdFault as fault:         # it may have lost the leadership this very moment
        refused = f" ({fault.message})"

    def look() -> str:
        return f"{host} still leads{refused}" if etcd.status(session.access.etcd(host)).is_leader else ""

    proofs.wait_until(session, "etcd", look, HANDOVER, when="before", proof=f"{host} does not lead etcd")


def _others_balance(session: Session, hosts: Sequence[str]) -> None:
    """See that the VIP and every other balancer lead to the API, before one that does is interrupted."""
    if any(api_servers.balancer_serves(session, host) for host in hosts):
        api_servers.balancers_answer(session)
        proofs.others_serve(session, "load-balancer", session.the_plan.of("load-balancer"))


@contextmanager
def _asked_before(session: Session, hosts: Sequence[str]) -> Iterator[None]:
    yield


GUARDS = {
    DRAINED: Guard(others_are_ready, held),
    OUT_OF_SERVICE: Guard(_nothing, _out_of_service),
    LEADS_ELSEWHERE: Guard(etcd_members.other_members_serve, _leads_elsewhere),
    OTHERS_BALANCE: Guard(_others_balance, _asked_before),
    VIP_LEAVES: Guard(_nothing, _asked_before),     # done in the step itself (handover.py)
}
