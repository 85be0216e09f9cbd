"""`reset`: the comparison with nothing. Takes everything of ours off hosts, and the records of it last of all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from provisioner.compile import removal
from provisioner.compile.removal import Removals
from provisioner.errors import GateFailed, KubewrightError, RefusedForSafety
from provisioner.model.desired import Desired, HostDesired
from provisioner.model.etcd import quorum
from provisioner.model.observed import HostObserved
from provisioner.model.plan import ObjectChange, Plan
from provisioner.operate import nodes
from provisioner.orchestrate.gates import api_servers, etcd_members
from provisioner.orchestrate.lock.cluster_lock import ClusterLock
from provisioner.orchestrate.phases import removing
from provisioner.orchestrate.plan import everybody, owner, survey
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import apply
from provisioner.transport.pool import raise_all

REASON = "reset"
_TIMES = 2      # what ended while the rest was taken away may have left something more


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return the plan that takes everything of ours off the hosts that answer; reads only.

    Raises RefusedForSafety where a host is another cluster's, and where etcd would lose its quorum or the cluster its
    last control plane while the rest of it is to go on; Unreachable where no host answers.
    """
    session.run.go_on = " ".join(["kubewright reset", *intent.only])
    hosts = everybody.chosen(session.cluster, intent.only)
    session.target.observed = _observe(session, hosts)
    owner.refuse_foreign(session, bootstrap=not survey.is_bootstrapped(session.observed))
    whole = everybody.is_whole(session.cluster, intent.only)
    if not whole:
        # The API is asked through hosts that stay: on these, the way to it goes.
        stay = everybody.without(session.target.inventory, hosts)
        session.access = session.access.to(replace(session.target, inventory=stay))
        _keeps_the_cluster(session, hosts)
    return session.go_by(_plan(session, whole))


def consent(intent: Intent, found: Plan) -> Consent:
    """Ask for the hosts, or for the whole cluster."""
    what = ", ".join(intent.only) or f"cluster {found.cluster}"
    return Consent(f"Take this off {what} for good?", f"reset {what}")


def _observe(session: Session, hosts: Sequence[str]) -> dict[str, HostObserved]:
    outcomes = survey.observe_ours(session, hosts)
    seen = {host: o for host, o in outcomes.items() if isinstance(o, HostObserved)}
    if not seen:
        raise_all(outcomes)
    session.run.unreachable |= {host: o for host, o in outcomes.items() if isinstance(o, KubewrightError)}
    return seen


def _removals(observed: dict[str, HostObserved]) -> Removals:
    desired = Desired({host: HostDesired(host, ()) for host in observed})
    found = removal.of_hosts(desired, observed, REASON)
    return Removals(tuple(replace(c, phase=removal.PHASE) for c in found.changes), found.kept)


def _plan(session: Session, whole: bool) -> Plan:
    found = _removals(session.observed)
    desired = Desired({host: HostDesired(host, ()) for host in session.observed})
    return Plan(cluster=session.cluster.cluster, desired=desired, changes=found.changes, verdicts=found.kept,
                objects=() if whole else _nodes(session),
                checked=sum(len(seen.owned) for seen in session.observed.values()))


def _nodes(session: Session) -> tuple[ObjectChange, ...]:
    """Return the Nodes of these hosts; where the API cannot be asked, as of a dead cluster, none, and that is told."""
    try:
        live = session.access.kube().nodes_by_name().keys()
    except KubewrightError as fault:
        session.access.forget_credentials()
        stays = f"if the API has a Node {', '.join(session.observed)}, it stays there (kubectl delete node)"
        session.tell("diagnostic", status="failed", message=f"{fault.message}: {stays}")
        return ()
    return nodes.removals(live, list(session.observed))


def _keeps_the_cluster(session: Session, hosts: Collection[str]) -> None:
    """Refuse to take away what the rest of the cluster cannot go on without, as far as there is a cluster."""
    members = _with(session, [h.name for h in session.cluster.etcd_hosts], "etcd.service")
    going = [name for name in members if name in hosts]
    planes = _with(session, [h.name for h in session.cluster.control_planes], "kube-apiserver.service")
    whole = "kubewright reset    # the whole cluster"
    if planes and set(planes) <= set(hosts):
        raise RefusedForSafety(f"reset {' '.join(hosts)}: no control plane would be left for the other hosts",
                               details=["nothing was changed"], hint=whole, code="no-control-plane-left")
    if not {*going, *planes} & set(hosts) or not _is_built(session):
        return
    others = [name for name in planes if name not in hosts]
    if set(planes) & set(hosts) and not api_servers.api_servers_that_serve(session, others):
        raise RefusedForSafety(
            f"reset {' '.join(hosts)}: no API server would be left that serves", code="no-control-plane-left",
            details=[f"{', '.join(others)}: not ready now", "nothing was changed"], hint=whole)
    stay = [name for name in members if name not in hosts]
    serve = list(etcd_members.answering(session, stay))
    if going and len(serve) < quorum(len(members)):
        raise RefusedForSafety(
            f"reset {' '.join(going)}: etcd would lose its quorum", code="quorum-lost", hint=whole, details=[
                f"of {len(members)} members {len(serve)} would be left that serve ({', '.join(serve) or 'none'}), and "
                f"{quorum(len(members))} are needed", "nothing was changed"])


def _with(session: Session, names: Sequence[str], unit: str) -> list[str]:
    """Return hosts, and those beside them that have a unit of ours whatever the inventory says."""
    have = (host for host, seen in session.observed.items()
            if any((o.kind, o.path) == ("unit", unit) for o in seen.owned))
    return list(dict.fromkeys((*names, *have)))


def _is_built(session: Session) -> bool:
    return survey.is_bootstrapped(session.observed) or survey.is_built(session)


def held(session: Session, intent: Intent, locked: ClusterLock) -> AbstractContextManager[None]:
    """Hold the cluster's lock; where it ends with this, a majority of those control planes that answer is enough.

    Where none of them answers there is nobody to hold it against.
    """
    if not everybody.is_whole(session.cluster, intent.only):
        return locked.held()
    return locked.held(of_those_that_answer=True) if locked.anybody else nullcontext()


def through(intent: Intent, found: Plan) -> tuple[Phase, ...]:
    """Return the one phase of a reset."""
    return (Phase(removal.PHASE, "everything of ours: workers first, then what the cluster runs on", take_off),)


def take_off(session: Session) -> str:
    """Take everything off, hosts that serve nobody first, and prove by looking again that nothing is left."""
    made = 0
    for number, hosts in enumerate(_turns(session)):
        if number:
            session.run.safe_point()
        session.run.works_on(f"{removal.PHASE} on {', '.join(hosts)}")
        made += empty(session, hosts, number)
        removing.delete_nodes(session, hosts)
    return f"{made} removals" if made else ""


def _turns(session: Session) -> Iterator[tuple[str, ...]]:
    """Yield what only runs Pods before what the cluster itself runs on."""
    core = {h.name for h in (*session.cluster.control_planes, *session.cluster.etcd_hosts)}
    answering = [host for host in session.observed if host not in session.unreachable]
    for hosts in ([h for h in answering if h not in core], [h for h in answering if h in core]):
        if hosts:
            yield tuple(hosts)


def empty(session: Session, hosts: Sequence[str], turn: int) -> int:
    """Let hosts settle what is under way there, and take away what is there then; GateFailed where something stays."""
    step = f"{session.run.id}.{removal.PHASE}.{turn}"
    session.hosts.each(lambda one: one.own((), step=step, epoch=session.run.epoch), hosts)
    made = 0
    for again in range(_TIMES):
        found = _removals(_observe(session, hosts)).changes
        if not found:
            return made
        changes = {host: [c for c in found if c.host == host] for host in hosts}
        apply.apply_batch(session, f"{removal.PHASE}.{turn}.{again}", {h: c for h, c in changes.items() if c})
        made += len(found)
    left = _removals(_observe(session, hosts)).changes
    if left:
        raise GateFailed(f"{left[0].host}: reset: {left[0].kind} {left[0].path} is still there", code="not-removed",
                         details=[f"{c.host}: {c.kind} {c.path}: {c.expect}" for c in left[1:]],
                         hint="kubewright reset")
    return made


def finish(session: Session, intent: Intent, epoch: int | None) -> None:
    """Let the hosts forget us, now that the run is over and its lock given back: both were kept there.

    Raises the faults of hosts that did not answer: they still are what they were. Here too is forgotten what was
    applied, where all of it is gone.
    """
    session.hosts.each(lambda one: one.forget(epoch=epoch),
                       [host for host in session.observed if host not in session.unreachable])
    if session.unreachable:
        raise_all({**session.unreachable, **dict.fromkeys(session.observed)})
    if everybody.is_whole(session.cluster, intent.only):
        session.target.inventory.applied_path.unlink(missing_ok=True)
