"""`upgrade --back`: to what ran before, while every component may legally return.

What ran before is what the cluster was last made from: an upgrade that was left half-way has not replaced that record
yet, and the record of a minor on trial holds what it replaced. The inventory is not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from provisioner.artifacts import supply
from provisioner.decide import legs, skew
from provisioner.decide import upgrade as way
from provisioner.decide.upgrade import Hop, Way, lock_of
from provisioner.errors import RefusedForSafety
from provisioner.model.applied import Applied
from provisioner.model.artifact import ArtifactLock
from provisioner.model.plan import Plan
from provisioner.orchestrate.plan import applied, running
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import up
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session

VERB = "upgrade --back"
_COMMAND = f"kubewright {VERB}"


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return the plan of the way back; reads only.

    Raises RefusedForSafety by the name of the rule by which some component may not return, where nothing is to go back,
    and as `up` does where members or the cluster do not let it begin.
    """
    return up.may_start(session, intent, planned(session))


def planned(session: Session) -> Plan:
    """Return the plan of the way back, as far as it can be seen without our own secrets; reads only."""
    session.run.go_on = _COMMAND
    said = applied.ask_hosts(session)
    if said is None:
        raise RefusedForSafety("no host says what this cluster was last made from, so nothing says what ran before",
                               code="nothing-to-go-back", details=["nothing was changed"], hint="kubewright plan")
    session.turn_to(applied.inventory_of(session.target.inventory, said), said.lock, said.trial)
    survey(session)
    goal, found = _way(running.state(session), said)
    running.refuse(session, found.refused, "kubewright upgrade    # goes on")
    if not found.hops and said.trial is None:
        raise RefusedForSafety(f"no upgrade is under way: all runs what Kubernetes {said.cluster.kubernetes} was last "
                               "made from", code="nothing-to-go-back", details=["nothing was changed"],
                               hint="kubewright rollback HOST")
    lock = lock_of(goal, final=_lock_before(said), applied=_lock_before(said),
                   known=(*said.lock.artifacts, *session.target.made_from.lock.artifacts, *supply.known()))
    inventory = session.target.inventory
    cluster = inventory.cluster.model_copy(update={"kubernetes": goal.kubernetes})
    session.turn_to(replace(inventory, cluster=cluster), lock)
    return survey(session)


def consent(intent: Intent, found: Plan) -> Consent:
    """Ask for the cluster as a whole."""
    return Consent(f"Take cluster {found.cluster} back?", f"take cluster {found.cluster} back")


def through(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """Return the phases as a way back takes them: controllers first, for none is to be newer than an API server."""
    names = [phase.name for phase in phases]
    first = min(names.index("controllers"), names.index("control-plane"))
    moved = [phase for phase in phases if phase.name == "controllers"]
    rest = [phase for phase in phases if phase.name != "controllers"]
    return (*rest[:first], *moved, *rest[first:])


def command(session: Session) -> str:
    """Return the command that goes back from where a run stopped; "" where some component may not return."""
    said = applied.on_hosts(session)
    if not said or session.plan is None:
        return ""
    made = [c for c in session.plan.changes if (c.host, c.kind, c.path) in session.target.done]
    _, found = _way(skew.after(running.state(session), made), said[0])
    return _COMMAND if found.hops else ""


def _way(state: skew.State, said: Applied) -> tuple[Hop, Way]:
    """Return what ran before, and the way there or why there is none."""
    goal = Hop(legs.before(state, skew.pinned(_lock_before(said))), ())
    return goal, way.back(state, goal.versions)


def _lock_before(said: Applied) -> ArtifactLock:
    return said.trial.lock_before(said.lock) if said.trial else said.lock
