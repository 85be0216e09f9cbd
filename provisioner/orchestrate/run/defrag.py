"""`etcd defrag`: the members one after another, each while nobody needs it."""

from __future__ import annotations

from dataclasses import replace

from provisioner.compile.etcd import DATA_DIR
from provisioner.errors import RefusedForSafety
from provisioner.model.plan import DATA, Change, Plan
from provisioner.operate import etcd
from provisioner.orchestrate.gates import etcd_members
from provisioner.orchestrate.phases import defragmenting
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return which members have how much to give back; reads only.

    Raises the fault of a member that does not answer: none is taken away from a cluster that misses one already.
    """
    session.run.go_on = "kubewright etcd defrag"
    now = survey(session, partial=True)
    if now.bootstrap:
        raise RefusedForSafety("there is no cluster yet to be defragmented", code="no-cluster", hint="kubewright up",
                               details=["nothing was changed"])
    etcd_members.etcd_is_one_cluster(session)
    changes = []
    for host in defragmenting.order(session):
        seen = etcd.status(session.access.etcd(host))
        changes.append(Change(host, "etcd", DATA, DATA_DIR, "change", "of "
                              f"{seen.db_size / 1e6:.1f} MB {seen.in_use / 1e6:.1f} MB are used", "", ""))
    session.run.as_they_run |= set(now.desired.hosts)       # what units read now counts, whatever is asked for
    return session.go_by(replace(now, changes=tuple(changes), objects=(), verdicts=(), strangers=(), lost=(),
                                 cordoned=(), members=(), voters=0))


def consent(intent: Intent, found: Plan) -> Consent:
    """Ask for all members."""
    return Consent(f"Defragment etcd of cluster {found.cluster}?", f"defragment etcd of {found.cluster}")


def through(intent: Intent, found: Plan) -> tuple[Phase, ...]:
    """Return the one phase of it."""
    return defragmenting.PHASES
