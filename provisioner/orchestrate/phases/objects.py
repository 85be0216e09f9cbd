"""Apply the Kubernetes objects of a phase."""

from __future__ import annotations

from collections.abc import Callable

from provisioner.operate.kube import Kube, make_changes
from provisioner.orchestrate import gates, record
from provisioner.orchestrate.phase import counted
from provisioner.orchestrate.session import Session


def apply_access(session: Session) -> str:
    """Apply the bindings that say who may do what, as system:masters: before them kubernetes-admin may do nothing."""
    return _apply(session, "access", session.break_glass)


def apply_addons(session: Session) -> str:
    """Apply what runs in the cluster itself."""
    return _apply(session, "addons", session.kube)


def _apply(session: Session, phase: str, client: Callable[[], Kube]) -> str:
    changes = [c for c in session.the_plan.objects if c.phase == phase]
    if not changes:
        return ""
    make_changes(client(), changes)
    record.of_objects(session, changes)
    return counted(len(changes), "object")


def admin_is_admitted(session: Session) -> None:
    """Prove that the API lets kubernetes-admin in: an authorizer sees a new binding a moment later."""

    def look() -> str:
        session.kube().nodes()
        return ""

    gates.wait_until(session, "access", look, 30.0)


def addons_are_available(session: Session) -> None:
    """Prove that every Deployment of ours is available."""
    for desired in session.the_plan.desired.objects:
        if desired.body["kind"] == "Deployment":
            metadata = desired.body["metadata"]
            gates.deployment_is_available(session, metadata["namespace"], metadata["name"])
