"""Proofs about Nodes, as the API knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.compile import networks
from provisioner.operate import health
from provisioner.orchestrate.gates.proofs import wait_until
from provisioner.orchestrate.session.session import Session


def nodes_are_ready(
    session: Session, hosts: Sequence[str] | None = None, *, version: str = "", when: str = "after",
    boots: Mapping[str, str] | None = None,
) -> None:
    """Prove that every node of the inventory is Ready, but for the Pod network where that is left to others.

    `session.target.waits_for_cni` has those that lack just that. With a `version`, the kubelet has said so since it has
    that: of one that has just restarted the API would believe for a while that it is as it was. So it would of one that
    was rebooted: with `boots` its kubelet says that it is in that boot.
    """
    wanted = session.answering(session.cluster.nodes) if hosts is None else hosts
    own = not networks.of(session.cluster).ours

    def look() -> str:
        nodes = session.access.kube().nodes_by_name()
        found = list(health.of_nodes(wanted, nodes, own=own))
        session.target.waits_for_cni = tuple(f.host for f in found if f.check == health.CNI)
        old = [f"{host}: its kubelet still is {said}" for host in wanted
               if version and (said := _version(nodes.get(host, {}))) != f"v{version}"]
        old += [f"{host}: its kubelet has not said yet that it is in another boot"
                for host, boot in (boots or {}).items() if _boot(nodes.get(host, {})) != boot]
        return "; ".join([*old, *(f"{f.host}: {f.saw.removeprefix('kubelet: ')}" for f in found
                                  if f.check != health.CNI)])

    wait_until(session, "network", look, proof=f"Ready: {', '.join(wanted)}", when=when)


def _version(node: Mapping[str, Any]) -> str:
    return str(node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion") or "not there")


def _boot(node: Mapping[str, Any]) -> str:
    return str(node.get("status", {}).get("nodeInfo", {}).get("bootID") or "")
