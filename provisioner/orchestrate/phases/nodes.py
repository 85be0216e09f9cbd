"""Change nodes: on a live cluster in turns, a kubelet that gets another minor while its Node is drained."""

from __future__ import annotations

from typing import Final

from provisioner.model.guards import DRAINED
from provisioner.model.phases import PHASES
from provisioner.model.plan import Turn
from provisioner.orchestrate.gates import node_states, proofs
from provisioner.orchestrate.phases import converge
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import drained

NAME: Final = "node"
_change = converge.phase(NAME, lambda session, turn: _are_back(session, turn))


def change_nodes(session: Session) -> str:
    """Apply the changes, then let Nodes take Pods again that a killed run left cordoned."""
    done = _change(session)
    return "; ".join(text for text in (done, drained.restore(session)) if text)


def _are_back(session: Session, turn: Turn) -> None:
    """Prove a turn: all that its Pods run on serves; a Node that was drained for it is Ready, and says so anew."""
    for phase in sorted(turn.phases, key=PHASES.index):
        proofs.phase_holds(session, phase, turn.hosts)
    if DRAINED in turn.guards:
        node_states.nodes_are_ready(session, turn.hosts, version="" if session.run.as_they_run
                                    else session.cluster.kubernetes)
