"""How `up`, `resume` and `retry` come to their plan: from the inventory, judged, no more of it than was asked for."""

from __future__ import annotations

from provisioner.model.plan import Plan
from provisioner.orchestrate.plan import members, owner, running
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
    where hosts run a later minor, or where the cluster is too unhealthy for restarts; and what opening our own
    secrets does.
    """
    skip = (*intent.skip, "packages") if session.run.packages else intent.skip     # they come with us
    found = intent.narrow(session, agreed.hold(session, fit_survey(session, skip)))
    if not found.bootstrap:
        running.refuse_older(session)
        if intent.verb != "upgrade":
            running.refuse_etcd_minor(session)
    members.refuse(session)
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
