"""`node remove`: hosts that left cluster.yaml leave the cluster as well, and everything of ours leaves them.

The plan is that of `up` for those that stay, with all that is ours on those that go. The others forget them first; then
each is taken out of what it is a part of, and emptied.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from provisioner.compile import removal
from provisioner.errors import KubewrightError, RefusedForSafety, Unreachable
from provisioner.model.cluster import Cluster
from provisioner.model.desired import HostDesired
from provisioner.model.observed import HostObserved
from provisioner.model.plan import Change, Plan
from provisioner.operate import nodes
from provisioner.orchestrate.phases import membership, removing
from provisioner.orchestrate.plan import applied, members, owner, running, survey
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.plan.preflight import fit_survey
from provisioner.orchestrate.run import interrupt, may_begin, reset, up
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import apply, draining, guards
from provisioner.transport.pool import raise_all
from provisioner.transport.target import targets_of

REASON = "its host leaves"
# What the others reach there, in the order in which it ends: before the member, on which the API server lives.
SERVERS = ("kube-scheduler.service", "kube-controller-manager.service", "kube-apiserver.service")


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return the plan by which these hosts leave; reads only.

    Raises what `up` does, and RefusedForSafety where a host is still asked for, was never the cluster's, or is counted
    on by a quorum that could not do without it; Unreachable where one does not answer and is not said to be lost.
    """
    session.run.go_on = " ".join(["kubewright node remove", *intent.leaving, *(["--lost"] if intent.lost else [])])
    _let_go(session, intent)
    found = agreed.hold(session, fit_survey(session, intent.skip))
    if not found.bootstrap:
        running.refuse_half_way(session)
        running.refuse_older(session)
    members.refuse(session)
    found = session.go_by(_with_removals(session, found, intent))
    apply.open_secrets(session)
    may_begin.to_begin(session, intent.allow, intent.verb)
    return found


def consent(intent: Intent, found: Plan) -> Consent:
    """Ask for the hosts by name."""
    hosts = ", ".join(intent.leaving)
    return Consent(f"Take {hosts} out of cluster {found.cluster} for good?", f"remove {hosts}")


def _let_go(session: Session, intent: Intent) -> None:
    """Set which hosts leave, reached as they were when they were last applied."""
    staying = [host for host in intent.leaving if host in session.cluster.hosts]
    if staying:
        raise RefusedForSafety(
            f"{', '.join(staying)}: still in {session.target.inventory.file.name}", code="still-in-inventory",
            details=["what is to be stands there, always: take it out of the file, then give this again",
                     "nothing was changed"], hint=session.run.go_on)
    base = applied.here(session.target.inventory) or applied.ask_hosts(session)
    then = applied.inventory_of(session.target.inventory, base) if base else session.target.inventory
    strange = [host for host in intent.leaving if host not in then.cluster.hosts]
    if strange:
        raise RefusedForSafety(f"{', '.join(strange)}: no host of this cluster, as it was last applied",
                               details=["nothing was changed"], code="no-such-host", hint="kubewright status")
    session.target.leaving = {host: then.cluster.hosts[host] for host in intent.leaving}
    session.hosts.also_reach({host: target for host, target in targets_of(then).items() if host in intent.leaving})
    _refuse_more(session, then.cluster, intent.leaving)
    if intent.lost:
        session.run.unreachable |= {host: Unreachable(f"{host}: said to be lost") for host in intent.leaving}


def _refuse_more(session: Session, then: Cluster, named: Collection[str]) -> None:
    """Refuse to leave a member behind that nobody names: the others would go on without it."""
    counted = [h.name for h in (*then.etcd_hosts, *then.control_planes)]
    left = sorted({h for h in counted if h not in session.cluster.hosts and h not in named})
    if left:
        raise RefusedForSafety(
            f"{', '.join(left)}: left the inventory as well, and is a member: name it too", code="member-left",
            details=["nothing was changed"], hint=" ".join([session.run.go_on, *left]))


def _with_removals(session: Session, found: Plan, intent: Intent) -> Plan:
    """Return the plan with all that is ours on the hosts that go; nothing of those that are lost."""
    here = [] if intent.lost else list(intent.leaving)
    outcomes = survey.observe_ours(session, here)
    silent = [h for h, o in outcomes.items() if not isinstance(o, HostObserved)]
    try:
        seen = raise_all(outcomes)
    except Unreachable as fault:
        fault.details = (*fault.details, f"where it never comes back: kubewright node remove {' '.join(silent)} --lost")
        raise
    session.observed.update(seen)
    owner.refuse_foreign(session, bootstrap=False)
    hosts = {**found.desired.hosts, **{h: HostDesired(h, ()) for h in intent.leaving}}
    desired = replace(found.desired, hosts=hosts)
    ours = removal.of_hosts(replace(desired, hosts={h: hosts[h] for h in here}), session.observed, REASON)
    drains = draining.look(session, [host for host in here if host in found.strangers], intent.force)
    return replace(found, desired=desired, drains=drains, changes=(*ours.early, *found.changes, *ours.late),
                   objects=(*found.objects, *nodes.removals(found.strangers, intent.leaving, [d.host for d in drains])),
                   strangers=tuple(s for s in found.strangers if s not in intent.leaving),
                   verdicts=(*found.verdicts, *ours.kept))


def begin(session: Session, intent: Intent, agreed: Agreed, found: Plan) -> Plan:
    """Let the Pods leave before anything else is changed: a budget may forbid it. Where one stays, none of them leaves.
    """
    found = up.begin(session, intent, agreed, found)
    try:
        with interrupt.patient(session):
            draining.one_by_one(session, [one.host for one in found.drains], intent.verb, keep=False)
    except KubewrightError as fault:
        fault.hint = fault.hint or session.run.go_on
        raise
    return found


def through(phases: Sequence[Phase], intent: Intent) -> tuple[Phase, ...]:
    """Return the phases of `up`, in whose last but one the hosts leave."""
    def leave(session: Session) -> str:
        left = [_leave(session, host, number) for number, host in enumerate(intent.leaving)]
        session.target.done |= {(c.host, c.kind, c.path) for c in session.the_plan.changes if c.host in intent.leaving}
        return "; ".join(text for text in (*left, removing.take_away(session)) if text)

    return tuple(replace(p, act=leave) if p.name == removal.PHASE else p for p in phases)


def _leave(session: Session, host: str, number: int) -> str:
    """Take one host out of what it is a part of, then everything off it."""
    session.run.safe_point()
    session.run.works_on(f"{removal.PHASE} on {host}")
    if host in session.unreachable:
        removing.delete_nodes(session, [host])
        return f"{host} is out"
    going = session.changes(removal.PHASE).get(host, ())
    servers = [change for unit in SERVERS for change in going if (change.kind, change.path) == ("unit", unit)]
    _stop(session, host, servers)
    if host in session.members:
        guards.hand_over(session, host)
        membership.take_out(session, host)
    made = reset.empty(session, [host], number)
    removing.delete_nodes(session, [host])
    return f"{host} is out, {made + len(servers)} removals"


def _stop(session: Session, host: str, servers: Sequence[Change]) -> None:
    if servers:
        apply.apply_batch(session, f"{removal.PHASE}.servers-{host}", {host: servers})


def finish(session: Session, intent: Intent, epoch: int | None) -> None:
    """Let the hosts forget us, now that the lock is given back."""
    gone = [host for host in intent.leaving if host in session.observed and host not in session.unreachable]
    session.hosts.each(lambda one: one.forget(epoch=epoch), gone)
