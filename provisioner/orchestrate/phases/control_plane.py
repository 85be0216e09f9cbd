"""Change API servers: on a live cluster one after the other, each out of service while it is changed."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.decide.batches import Standing
from provisioner.orchestrate.gates import api_servers, proofs
from provisioner.orchestrate.phases import converge
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import way_back
from provisioner.orchestrate.turn.apply import Changes
from provisioner.orchestrate.turn.rotation import out_of_service

NAME = "control-plane"


def _change_one(session: Session, step: str, changes: Changes) -> None:
    """Take one host's API server out of every HAProxy, change it, and prove it ready before it is put back."""
    (host,) = changes
    with out_of_service(session, host):
        way_back.apply_and_prove(session, step, changes, lambda: _is_ready(session, host))


def _is_ready(session: Session, host: str) -> None:
    proofs.phase_holds(session, NAME, [host], proofs.STOP + proofs.DEADLINE)
    api_servers.vip_answers(session)


def _repair_first(session: Session, hosts: Sequence[str]) -> Standing:
    """Let hosts whose API server serves nobody go first: no other may be touched before they are well."""
    serving = api_servers.api_servers_that_serve(session, hosts)
    return Standing(first=tuple(h for h in hosts if h not in serving))


change_servers = converge.phase(NAME, _change_one, _repair_first)


def gate(session: Session) -> None:
    """Prove every API server, and the way to them through the VIP."""
    proofs.phase_holds(session, NAME)
    api_servers.vip_answers(session)
