"""Change HAProxy and keepalived: on a live cluster only while the API is reached through all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from provisioner.compile.load_balancer import KEEPALIVED
from provisioner.decide.batches import Standing, interrupts
from provisioner.model.plan import Change, Turn
from provisioner.orchestrate.gates import api_servers, proofs
from provisioner.orchestrate.phases import converge, together
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import apply, rotation

NAME: Final = "load-balancer"


def change_balancers(session: Session) -> str:
    """Apply the changes, then set ready what a killed run left out of service.

    No server is drained while HAProxy is reloaded, which would forget it: this phase drains none, and the others have
    put back what they drained before they end.
    """
    changes = together.changes(session, NAME)
    new = {} if session.the_plan.bootstrap else {h: c for h, c in changes.items() if _is_new(c)}
    done = converge.apply_changes(session, NAME, {h: _but(c) if h in new else c for h, c in changes.items()},
                                  _holds, _in_order)
    if new:
        session.run.safe_point()
        apply.apply_batch(session, f"{NAME}.new", {h: [c for c in of_host if c.path == KEEPALIVED]
                                                  for h, of_host in new.items()})
        proofs.phase_holds(session, NAME, list(new))
    told = [together.told(session, NAME, done), rotation.restore(session)]
    return "; ".join(text for text in told if text)


def _is_new(changes: Sequence[Change]) -> bool:
    """Say whether a host that has no balancer yet may now have the VIP: its peers do not know it yet."""
    return _joins(changes) and not interrupts(changes)


def _but(changes: Sequence[Change]) -> Sequence[Change]:
    return tuple(c for c in changes if c.path != KEEPALIVED)


def _holds(session: Session, turn: Turn) -> None:
    """Prove that the hosts serve; where one gave up the VIP, that another took it before any peer is changed.

    A host that waits with its keepalived for the peers is proved when that has started.
    """
    waits = [h for h in turn.hosts if not session.the_plan.bootstrap and _is_new(session.changes(NAME).get(h, ()))]
    proofs.phase_holds(session, NAME, [h for h in turn.hosts if h not in waits])
    planned = session.the_plan.of(NAME)
    if any(_leaves(planned.get(host, ())) for host in turn.hosts):
        api_servers.vip_answers(session)


def _in_order(session: Session, hosts: Sequence[str]) -> Standing:
    """Let a host that gives up the VIP for good go first, one that may now have it last.

    A keepalived hears only the peers that its configuration names. Peers that forgot a holder would take the VIP beside
    it, and so would one that its holder does not know yet.
    """
    planned = session.the_plan.of(NAME)
    return Standing(first=tuple(h for h in hosts if _leaves(planned[h])),
                    last=tuple(h for h in hosts if _joins(planned[h])))


def _leaves(changes: Sequence[Change]) -> bool:
    return any((c.path, c.action) == (KEEPALIVED, "remove") for c in changes)


def _joins(changes: Sequence[Change]) -> bool:
    return any((c.path, c.action) == (KEEPALIVED, "start") for c in changes)

