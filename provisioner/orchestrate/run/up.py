"""How `up`, `resume` and `retry` come to their plan: from the inventory, judged, no more of it than was asked for."""

from __future__ import annotations

from provisioner.model.plan import Plan
from provisioner.orchestrate.plan import machines, members, owner, running
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.plan.preflight import fit_survey
from provisioner.orchestrate.plan.survey import create_secrets
from provisioner.orchestrate.run import may_begin
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import apply


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return what differs on hosts that are fit, after every refusal that needs no change to be found.

    Raises what fit_survey, the change rules and a saved plan do; RefusedForSafety where a member has lost its data,
    where another machine has a host's address, where hosts run a later minor, or where the cluster is too unhealthy for
    restarts; and what opening our own secrets does.
    """
    found = judged(session, intent, agreed, fit(session, intent))
    if not found.bootstrap:
        running.refuse_half_way(session)
        running.refuse_etcd_minor(session)
    return may_start(session, intent, found)


def fit(session: Session, intent: Intent) -> Plan:
    """Return what differs on hosts that are fit; raises what fit_survey does."""
    return fit_survey(session, intent.skip)


def judged(session: Session, intent: Intent, agreed: Agreed, found: Plan) -> Plan:
    """Return no more of a plan than was asked for, where it is what was agreed to and takes no version back."""
    found = intent.narrow(session, agreed.hold(session, found))
    if not found.bootstrap:
        running.refuse_older(session)
    return found


def may_start(session: Session, intent: Intent, found: Plan) -> Plan:
    """Return the plan where members, our own secrets and the cluster as it is let it begin."""
    members.refuse(session)
    machines.refuse(session)
    apply.open_secrets(session)
    may_begin.to_begin(session, intent.allow, intent.verb)
    return found


def consent(intent: Intent, found: Plan) -> Consent:
    """Ask for the cluster as a whole: what changes is shown above the question."""
    verb = "Build" if found.bootstrap else "Change"
    return Consent(f"{verb} cluster {found.cluster}?", f"{verb.lower()} cluster {found.cluster}")


def begin(session: Session, intent: Intent, agreed: Agreed, found: Plan) -> Plan:
    """Make the first CAs and secrets where there are none yet, and let every host remember whose it is."""
    if not session.target.secrets.exists:
        found = intent.narrow(session, agreed.hold_generated(create_secrets(session)))
    owner.claim(session)
    return found
