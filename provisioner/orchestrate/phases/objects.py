"""Apply the Kubernetes objects of a phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from provisioner.compile import networks
from provisioner.model.desired import KubeObject
from provisioner.model.phases import PhaseName
from provisioner.operate import health, pki
from provisioner.operate.kube import Kube, make_changes, object_path
from provisioner.operate.tls_secrets import with_leaf
from provisioner.orchestrate.gates import node_states, proofs, workloads
from provisioner.orchestrate.session import telling
from provisioner.orchestrate.session.phase import counted
from provisioner.orchestrate.session.session import Session


def apply_access(session: Session) -> str:
    """Apply the bindings that say who may do what, as system:masters: before them kubernetes-admin may do nothing."""
    return _apply(session, "access", session.access.break_glass)


def apply_addons(session: Session) -> str:
    """Apply what runs in the cluster itself."""
    return _apply(session, "addons", session.access.kube)


def _apply(session: Session, phase: PhaseName, client: Callable[[], Kube]) -> str:
    changes = [c for c in session.the_plan.objects if c.phase == phase]
    if not changes:
        return ""
    made = client()
    session.run.still_ours()        # the API asks no fence
    make_changes(made, [replace(c, object=_with_leaf(session, c.object)) for c in changes])
    telling.of_objects(session, changes)
    return counted(len(changes), "object")


def _with_leaf(session: Session, desired: KubeObject | None) -> KubeObject | None:
    """Issue the leaf of an object that holds one; the CA's key is opened for that and for nothing else."""
    if desired is None or desired.certificate is None:
        return desired
    return with_leaf(desired, pki.issue(desired.certificate, session.target.secrets.ca(desired.certificate.ca)))


def admin_is_admitted(session: Session) -> None:
    """Prove that the API lets kubernetes-admin in: an authorizer sees a new binding a moment later."""

    def look() -> str:
        session.access.kube().nodes()
        return ""

    proofs.wait_until(session, "access", look, 30.0, proof="kubernetes-admin is let in")


def addons_are_available(session: Session) -> None:
    """Prove that every Deployment of ours is available, then that the API servers reach what they hand on to it.

    Where the inventory leaves the Pod network to others and no node has one yet, nothing can run: that is for a later
    run to prove.
    """
    if _nodes_have_no_network(session):
        return
    bodies = [o.body for o in session.the_plan.desired.objects]
    for metadata in (b["metadata"] for b in bodies if b["kind"] == "Deployment"):
        workloads.deployment_is_available(session, metadata["namespace"], metadata["name"])
    for body in (b for b in bodies if b["kind"] == "APIService"):
        proofs.wait_until(session, "addons", _reached(session, body),
                         proof=f"the API servers reach {body['metadata']['name']}")


def _nodes_have_no_network(session: Session) -> bool:
    if networks.of(session.cluster).ours:
        return False
    node_states.nodes_are_ready(session)
    return len(session.target.waits_for_cni) == len(session.answering(session.cluster.nodes))


def _reached(session: Session, body: Mapping[str, Any]) -> Callable[[], str]:
    """Return what tells why the API servers do not reach an API that they hand on, or nothing when they do."""

    def look() -> str:
        return health.of_apiservice(session.access.kube().get(object_path(body)))

    return look
