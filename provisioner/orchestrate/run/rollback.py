"""Going back by hand: a plan made of what a host kept, done phase by phase as `up` does, with the same proofs.

An API server leaves service while it is changed, members go only while all others are well, and the prober watches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from provisioner.decide import skew, way_back
from provisioner.errors import RefusedForSafety, UsageFault
from provisioner.model.desired import HostDesired
from provisioner.model.generations import Kept
from provisioner.model.plan import Plan
from provisioner.orchestrate.phases import load_balancer, nodes
from provisioner.orchestrate.plan import running
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run.options import Back, Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return the plan that takes the one host back; reads only, and leaves the plan of the inventory behind.

    From here on every host counts as it is: its own list says what its units read, and no change of the inventory that
    was not applied yet is wanted. Other hosts may be out of reach. Raises UsageFault where nothing is kept of what is
    asked for, RefusedForSafety where the way back would lead to nothing that ever ran. API servers that a killed run
    left out of service stay in the plan, as do Nodes that it left cordoned: this run must not end with what it put back
    still drained.
    """
    (host,), wish = intent.only, intent.back
    now = survey(session, partial=True)
    if host in session.unreachable:
        raise session.unreachable[host]
    if now.bootstrap:
        raise RefusedForSafety(f"{host}: going back: there is no cluster yet, so nothing ran before",
                               code="no-way-back", hint="kubewright up")
    desired = now.desired.hosts[host]
    rows = _chosen(host, session.hosts.on(host).kept(), desired, wish)
    back = way_back.of_rows(rows, desired, session.observed[host])
    if not back.changes:
        raise RefusedForSafety(f"{host}: going back from {_names(rows)}: {back.why_not}", code="no-way-back",
                               details=["nothing was changed"], hint=f"kubewright runs show {rows[0].run}")
    _refuse_skew(session, back)
    session.run.as_they_run |= set(now.desired.hosts)
    session.run.go_on = _again(host, wish, rows)
    return session.go_by(replace(now, changes=way_back.in_phases(back), objects=(), verdicts=(), strangers=()))


def consent(intent: Intent, found: Plan) -> Consent:
    """Ask for the one host."""
    (host,) = intent.only
    return Consent(f"Put this back on {host}?", f"{host}: going back")


def through(phases: Sequence[Phase], found: Plan) -> tuple[Phase, ...]:
    """Return those of `phases` that the way back leads through; each proves the one host that it changes."""
    wanted = {change.phase for change in found.changes} | ({load_balancer.NAME} if found.drained_servers else set())
    wanted |= {nodes.NAME} if found.cordoned else set()
    return tuple(Phase(p.name, p.doc, p.act) for p in phases if p.name in wanted)


def _refuse_skew(session: Session, back: way_back.Back) -> None:
    """Raise RefusedForSafety, by the rule's name, where what ran before may not stand beside what others run by now.

    A rule that is broken already, as on the way of an upgrade that was killed, keeps nobody from going back.
    """
    now = running.state(session)
    already = set(map(str, skew.faults(now)))
    new = [fault for fault in skew.faults(skew.after(now, way_back.in_phases(back))) if str(fault) not in already]
    running.refuse(session, new, "kubewright upgrade --plan    # where one is under way: go on, or --back",
                   what="going back")


def _chosen(host: str, kept: list[Kept], desired: HostDesired, wish: Back) -> list[Kept]:
    """Return the rows that are asked for; UsageFault names what there is instead."""
    if wish.component:
        there = way_back.components(desired)
        kept = way_back.of_component(wish.component, kept, desired)
        if not kept and wish.component not in there:
            raise UsageFault(f"{host} has no component {wish.component}", details=[f"components: {' '.join(there)}"],
                             hint=f"kubewright rollback {host} --component {next(iter(there), 'kubelet')}")
    run = wish.run or ("" if wish.step else way_back.newest_run(kept))
    rows = [row for row in kept if (row.step == wish.step if wish.step else way_back.of_run(row, run))]
    if not rows:
        raise UsageFault(f"{host} keeps nothing from before {wish.step or run or 'any run'}",
                         details=[f"kept: {_names(kept)}" if kept else "nothing of ours was changed there",
                                  "of each path what was there before its last change is kept"],
                         code="nothing-kept", hint="kubewright runs list")
    return rows


def _again(host: str, wish: Back, rows: Sequence[Kept]) -> str:
    """Return the command that goes on with this way back; it names the run, for the newest may be an older one then."""
    component = f" --component {wish.component}" if wish.component else ""
    return f"kubewright rollback {host}{component} " + (f"--step {wish.step}" if wish.step else f"--run {rows[0].run}")


def _names(rows: list[Kept]) -> str:
    """Return the runs that rows are of, newest first; of those that went back, the steps."""
    newest = sorted(rows, key=lambda row: -row.saved)
    return " ".join(dict.fromkeys(row.step if row.step.endswith(way_back.BACK) else row.run for row in newest))
