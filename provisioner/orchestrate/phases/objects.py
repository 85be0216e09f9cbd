"""Apply the Kubernetes objects of a phase."""

from __future__ import annotations

from provisioner.operate.kube import make_changes
from provisioner.orchestrate import gates
from provisioner.orchestrate.phase import counted
from provisioner.orchestrate.session import Session


def apply_access(session: Session) -> str:
    """Apply the bindings that say who may do what, as system:masters: before them kubernetes-admin may do nothing."""
    changes = [c for c in session.the_plan.objects if c.phase == "access"]
    if not changes:
        return ""
    make_changes(session.break_glass(), changes)
    return counted(len(changes), "object")


def admin_is_admitted(session: Session) -> None:
    """Prove that the API lets kubernetes-admin in: an authorizer sees a new binding a moment later."""

    def look() -> str:
        session.kube().nodes()
        return ""

    gates.wait_until(session, "access", look, 30.0)


def apply_addons(session: Session) -> str:
    """Apply what runs in the cluster itself."""
    changes = [c for c in session.the_plan.objects if c.phase == "addons"]
    if not changes:
        return ""
    make_changes(session.kube(), changes)
    return counted(len(changes), "object")


def addons_are_available(session: Session) -> None:
    """Prove that every Deployment of ours is available."""
    for desired in session.the_plan.desired.objects:
        if desired.body["kind"] == "Deployment":
            metadata = desired.body["metadata"]
            gates.deployment_is_available(session, metadata["namespace"], metadata["name"])
