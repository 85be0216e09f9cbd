"""Change HAProxy and keepalived: on a live cluster only while the API is reached through all others."""

from __future__ import annotations

from typing import Final

from provisioner.orchestrate.phases import converge
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import rotation

NAME: Final = "load-balancer"


def change_balancers(session: Session) -> str:
    """Apply the changes, then set ready what a killed run left out of service.

    No server is drained while HAProxy is reloaded, which would forget it: this phase drains none, and the others have
    put back what they drained before they end.
    """
    done = [_apply(session), rotation.restore(session)]
    return "; ".join(text for text in done if text)


_apply = converge.phase(NAME, ask=converge.nothing_asked)
