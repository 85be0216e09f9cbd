"""Proofs about Nodes, as the API knows them."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.compile import networks
from provisioner.operate import health
from provisioner.orchestrate.gates.proofs import wait_until
from provisioner.orchestrate.session.session import Session


def nodes_are_ready(session: Session, hosts: Sequence[str] | None = None) -> None:
    """Prove that every node of the inventory is Ready, but for the Pod network where that is left to others.

    `session.target.waits_for_cni` has those that lack just that.
    """
    wanted = session.answering(session.cluster.nodes) if hosts is None else hosts
    own = not networks.of(session.cluster).ours

    def look() -> str:
        nodes = {str(n["metadata"]["name"]): n for n in session.access.kube().nodes()}
        found = list(health.of_nodes(wanted, nodes, own=own))
        session.target.waits_for_cni = tuple(f.host for f in found if f.check == health.CNI)
        return "; ".join(f"{f.host}: {f.saw.removeprefix('kubelet: ')}" for f in found if f.check != health.CNI)

    wait_until(session, "network", look, proof=f"Ready: {', '.join(wanted)}")
