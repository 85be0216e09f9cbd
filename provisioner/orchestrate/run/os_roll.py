"""`upgrade --os`: newer OS packages and reboots, host by host, while the cluster serves.

What is due is read from the hosts each time, so a run that was killed is gone on with by the same command. Only what
`--reboot` asks for leaves no trace on a host but its boot id: that of each is noted when a roll begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from provisioner.decide import os_roll as decide
from provisioner.errors import KubewrightError, RefusedForSafety
from provisioner.model.plan import Plan
from provisioner.orchestrate.gates import own
from provisioner.orchestrate.phases import os_turns
from provisioner.orchestrate.plan import owner
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import may_begin, rehearsal
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session import runs
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import reboot


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return whose packages change and who is rebooted; changes nothing but the lists of packages.

    A host that an ended run told to reboot is waited for. Raises Unreachable for one that does not answer,
    RefusedForSafety where there is no cluster or it is too unhealthy for a host less, and PlanStale where it is not
    the plan that was saved.
    """
    session.run.go_on = again(intent)
    own.refuse_unknown(session.target.inventory)
    found = agreed.same(judged(session, intent))
    owner.refuse_foreign(session, bootstrap=False)
    may_begin.to_begin(session, intent.allow, decide.VERB)
    return found


def judged(session: Session, intent: Intent) -> Plan:
    """Return the plan with what becomes of Pods; reads only."""
    notes = _notes(session)
    reboot.wait_for(session, {h: boot for h, boot in decide.rebooting(notes).items()
                              if h in session.cluster.hosts and h not in session.unreachable}, intent.boot_timeout)
    now = survey(session)
    if now.bootstrap:
        raise RefusedForSafety("there is no cluster yet whose hosts could be rolled", code="no-cluster",
                               hint="kubewright up", details=["nothing was changed"])
    asked = [h for h in session.observed if not intent.only or h in intent.only]
    states, before = reboot.look(session, asked, refresh=True), decide.boots_before(
        notes, intent.to_json()) if intent.reboot else {}
    found = replace(now, changes=decide.changes(session.cluster, states, reboot=intent.reboot, before=before),
                    objects=(), members=(), strangers=(),
                    verdicts=decide.noted(states, before, reboot=intent.reboot))
    session.run.as_they_run |= set(now.desired.hosts)       # what units read now counts, whatever is asked for
    session.target.boots_before = before
    return session.go_by(rehearsal.noted(session, session.go_by(_until(found, intent))))


def _notes(session: Session) -> Mapping[str, list[dict[str, object]]]:
    """Return what runs noted; nothing where no control plane answers, which the survey tells better."""
    with suppress(KubewrightError):
        return runs.notes_on_hosts(session, patient=False)
    return {}


def _until(found: Plan, intent: Intent) -> Plan:
    """Return the plan no further than it is asked to go."""
    return replace(found, changes=tuple(c for c in found.changes if c.phase in decide.walked(intent.until)))


def again(intent: Intent) -> str:
    """Return the command that goes on with a roll."""
    words = ["--reboot"] if intent.reboot else []
    return " ".join([f"kubewright {decide.VERB}", *words, *intent.bounds()])


def consent(intent: Intent, found: Plan) -> Consent:
    """Ask for all hosts that change."""
    hosts = len({c.host for c in found.changes})
    return Consent(f"Change the operating systems of {hosts} hosts of cluster {found.cluster}?",
                   f"upgrade the operating systems of {found.cluster}")


def finish(session: Session, intent: Intent, epoch: int | None) -> None:
    """Where a roll was to be gone on with and nothing of it was left, note that it has ended: the next begins anew."""
    if session.target.boots_before and not session.the_plan.has_work:
        session.run.noting = True
        runs.note(session, "begin", phases=[], origin=session.run.origin.to_json(), options=session.run.options)
        runs.note(session, "boots", boots=dict(session.target.boots_before))
        runs.end(session, "ok", 0.0, "", ())


def through(intent: Intent, found: Plan) -> tuple[Phase, ...]:
    """Return the phases of it."""
    return os_turns.phases(reboots=intent.reboot, seconds=intent.boot_timeout, until=intent.until)
