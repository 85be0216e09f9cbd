"""Change HAProxy and keepalived: on a live cluster only while the API is reached through all others."""

from __future__ import annotations

from provisioner.orchestrate.gates import api_servers, proofs
from provisioner.orchestrate.phases import converge
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import rotation, way_back
from provisioner.orchestrate.turn.apply import Changes

NAME = "load-balancer"


def change_balancers(session: Session) -> str:
    """Apply the changes, then set ready what a killed run left out of service.

    No server is drained while HAProxy is reloaded, which would forget it: this phase drains none, and the others have
    put back what they drained before they end.
    """
    done = [_apply(session), rotation.restore(session)]
    return "; ".join(text for text in done if text)


def _change(session: Session, step: str, changes: Changes) -> None:
    """Interrupt balancers that lead to the API only while the VIP and every other balancer do."""
    if any(api_servers.balancer_serves(session, host) for host in changes):
        api_servers.balancers_answer(session)
        proofs.others_serve(session, NAME, session.changes(NAME))
    way_back.apply_and_prove(session, step, changes, lambda: proofs.phase_holds(session, NAME, list(changes)))


_apply = converge.phase(NAME, _change)
