"""Change API servers: on a live cluster one after the other, each out of service while it is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from provisioner.decide.batches import Standing
from provisioner.model.phases import JOIN
from provisioner.model.plan import Turn
from provisioner.orchestrate.gates import api_servers, node_states, proofs
from provisioner.orchestrate.gates.gate_probes import host_probes
from provisioner.orchestrate.phases import converge, together
from provisioner.orchestrate.session.session import Session

NAME: Final = "control-plane"


def _are_ready(session: Session, turn: Turn) -> None:
    """Prove API servers; one that was stopped for this may take as long as its unit gives it to stop."""
    if not turn.guards:
        proofs.phase_holds(session, NAME, turn.hosts)
        return
    api_servers.changed_are_ready(session, {h: host_probes(session, h, NAME) for h in turn.hosts})
    api_servers.vip_answers(session)


def _repair_first(session: Session, hosts: Sequence[str]) -> Standing:
    """Let hosts whose API server serves nobody go first: no other may be touched before they are well."""
    serving = api_servers.api_servers_that_serve(session, hosts)
    return Standing(first=tuple(h for h in hosts if h not in serving))


change_servers = converge.phase(NAME, _are_ready, _repair_first)


def gate(session: Session) -> None:
    """Prove every API server, on a first start the one that began, and the way there through the VIP."""
    together.begun_holds(session, NAME)
    api_servers.vip_answers(session)


def all_have_joined(session: Session) -> None:
    """Prove what `join` has started: all that runs on the other control planes, and that every node is Ready."""
    for phase in together.WITH[JOIN]:
        proofs.phase_holds(session, phase, together.join_later(session))
    node_states.nodes_are_ready(session)
