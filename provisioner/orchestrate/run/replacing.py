"""`node replace`: a host keeps its name and gets another machine, or its etcd member lost its data.

The plan is that of `up`; what `up` refuses for such a host is what is asked for: its dead member is taken out, and a
new one joins.
"""

from __future__ import annotations

from provisioner.errors import RefusedForSafety, UsageFault
from provisioner.model.plan import Plan
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.run import up
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session.session import Session


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return the plan after which the host's new machine has its place; reads only, and raises what `up` does.

    RefusedForSafety where the host's member runs with its own data and nothing of the host differs: then nothing is to
    be replaced. What differs beside a member that runs may be what a killed replacement has left: it is done as by
    `up`.
    """
    session.run.go_on = " ".join(["kubewright node replace", *intent.replacing])
    unknown = [host for host in intent.replacing if host not in session.cluster.hosts]
    if unknown:
        raise UsageFault(f"{', '.join(unknown)}: not in the inventory", hint="kubewright status",
                         details=[f"hosts: {' '.join(session.cluster.hosts)}"])
    session.target.replacing = intent.replacing
    found = up.plan(session, intent, agreed)
    alive = [host for host in intent.replacing if host in session.members]
    begun = bool(found.members) or any(c.host in alive for c in found.changes)      # by a run that was killed
    if alive and not begun:
        raise RefusedForSafety(
            f"{', '.join(alive)}: its etcd member runs with its own data: there is nothing to replace",
            code="not-to-replace", details=["nothing was changed"],
            hint="kubewright up    # where the machine is the same; give this again when a new one is there")
    return found


def consent(intent: Intent, found: Plan) -> Consent:
    """Ask for the host by name."""
    hosts = ", ".join(intent.replacing)
    return Consent(f"Give the place of {hosts} in cluster {found.cluster} to the machine that is there now?",
                   f"replace {hosts}")
