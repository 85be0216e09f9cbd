"""`node drain` and `node uncordon`: Nodes that give their Pods away and get none, until somebody says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.errors import KubewrightError, RefusedForSafety, UsageFault
from provisioner.model.desired import Desired, HostDesired
from provisioner.model.draining import OURS, Drain
from provisioner.model.plan import ObjectChange, Plan
from provisioner.operate import drain
from provisioner.orchestrate.gates import proofs
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.plan.survey import observe
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session import telling
from provisioner.orchestrate.session.phase import Phase, counted
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import draining

PROOF = 30.0    # seconds for the API to show what was done


def plan_drain(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return what becomes of the Pods of these Nodes; reads only.

    A Node that we keep cordoned and that is empty needs nothing. Raises UsageFault for a namespace to be forced that
    has no Pod there, and where the API does not answer what it says: nothing can be drained without it.
    """
    session.run.go_on = " ".join(["kubewright node drain", *intent.only, *(f"--force {n}" for n in intent.force)])
    nodes = _look(session, intent)
    found = draining.look(session, intent.only, intent.force)
    there = {pod.namespace for one in found for pod in one.leaving}
    strange = [name for name in intent.force if name not in there]
    if strange:
        raise UsageFault(f"--force {', '.join(strange)}: no Pod of that namespace would leave {', '.join(intent.only)}",
                         details=["nothing was changed"],
                         hint=f"kubectl get pods -n {strange[0]} -o wide")
    return session.go_by(_plan(session, intent, drains=tuple(
        one for one in found if one.leaving or (one.cordon in ("", OURS) and not drain.is_kept(nodes[one.host])))))


def plan_uncordon(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return which of these Nodes take Pods again; reads only.

    Raises RefusedForSafety where the cordon of one is not ours: who set it knows what for.
    """
    session.run.go_on = " ".join(["kubewright node uncordon", *intent.only])
    nodes = _look(session, intent)
    cordoned = [host for host in intent.only if drain.is_cordoned(nodes[host])]
    others = [host for host in cordoned if not drain.is_ours(nodes[host])]
    if others:
        raise RefusedForSafety(
            f"{', '.join(others)}: cordoned by somebody else, who knows what for", code="cordon-of-others",
            details=["only a cordon of our own is undone; nothing was changed"],
            hint=f"kubectl uncordon {' '.join(others)}")
    return session.go_by(_plan(session, intent, objects=tuple(
        ObjectChange(draining.PHASE, f"Node {host}", "change", f"takes Pods again: cordoned for "
                     f"{drain.note_of(nodes[host])}") for host in cordoned)))


def _look(session: Session, intent: Intent) -> Mapping[str, Mapping[str, Any]]:
    """Return the Nodes by name, all that were asked for among them; the lock's epoch goes to every host that answers.
    """
    observe(session, lambda desired: (), partial=True)
    try:
        nodes = session.access.kube().nodes_by_name()
    except KubewrightError as fault:
        fault.details = (*fault.details, "Pods are moved through the API; nothing was changed")
        fault.hint = fault.hint or "kubewright doctor"
        raise
    strange = [host for host in intent.only if host not in nodes]
    if strange:
        raise UsageFault(f"{', '.join(strange)}: the cluster has no such Node",
                         details=[f"Nodes: {' '.join(nodes)}", "nothing was changed"], hint="kubewright status")
    return nodes


def _plan(session: Session, intent: Intent, *, drains: Sequence[Drain] = (), objects: tuple[ObjectChange, ...] = (),
          ) -> Plan:
    hosts = {host: HostDesired(host, ()) for host in intent.only}
    return Plan(session.cluster.cluster, Desired(hosts, ()), objects=objects, drains=tuple(drains))


def ask_drain(intent: Intent, found: Plan) -> Consent:
    """Ask for the Nodes by name, and for what is overridden."""
    against = f" against the budgets of {', '.join(intent.force)}" if intent.force else ""
    hosts = ", ".join(intent.only)
    return Consent(f"Drain {hosts} of cluster {found.cluster}{against}?", f"drain {hosts}")


def ask_uncordon(intent: Intent, found: Plan) -> Consent:
    """Ask for the Nodes by name."""
    hosts = ", ".join(intent.only)
    return Consent(f"Let {hosts} of cluster {found.cluster} take Pods again?", f"uncordon {hosts}")


def through_drain(intent: Intent, found: Plan) -> tuple[Phase, ...]:
    """Return the one phase of a drain."""
    hosts = [one.host for one in found.drains]

    def act(session: Session) -> str:
        draining.one_by_one(session, hosts, drain.KEPT, keep=True)
        return f"{counted(len(hosts), 'node')} drained"

    def gate(session: Session) -> None:
        def reason() -> str:
            return "; ".join(f"{one.host} still has {', '.join(pod.full_name for pod in one.leaving)}"
                             if one.leaving else f"{one.host} is not cordoned"
                             for one in draining.look(session, hosts) if one.leaving or not one.cordon)

        proofs.wait_until(session, draining.PHASE, reason, PROOF, proof="no Pod is left that had to leave")

    return (Phase(draining.PHASE, "each Node is cordoned, and its Pods leave as their budgets allow", act, gate),)


def through_uncordon(intent: Intent, found: Plan) -> tuple[Phase, ...]:
    """Return the one phase in which Nodes take Pods again."""
    hosts = [change.identity.removeprefix("Node ") for change in found.objects]

    def act(session: Session) -> str:
        kube = session.access.kube()
        session.run.still_ours()
        for host in hosts:
            drain.uncordon(kube, host, whatever=True)
        if found.objects:
            telling.of_objects(session, found.objects)
        return f"{counted(len(hosts), 'node')} uncordoned" if hosts else ""

    def gate(session: Session) -> None:
        def reason() -> str:
            nodes = session.access.kube().nodes_by_name()
            return "; ".join(f"{host} is cordoned" for host in hosts if drain.is_cordoned(nodes.get(host, {})))

        proofs.wait_until(session, draining.PHASE, reason, PROOF, proof=f"{', '.join(hosts)} take Pods")

    return (Phase(draining.PHASE, "the Nodes take Pods again", act, gate),)
