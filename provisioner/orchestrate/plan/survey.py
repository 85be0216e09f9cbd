"""Look at everything, then say what differs: the one way from an inventory to a plan, for every verb that needs one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from provisioner.compile import leavings, removal, snapshots
from provisioner.compile.cluster import compile_cluster
from provisioner.compile.diff import Certificates, again, compare, of_lost_nodes
from provisioner.compile.etcd import BOOTSTRAP_ENV, BOOTSTRAPPED
from provisioner.errors import GateFailed, KubewrightError, Unreachable
from provisioner.model.applied import digest
from provisioner.model.desired import Desired, File, HostDesired, Item
from provisioner.model.observed import ABSENT, HostObserved
from provisioner.model.plan import NOTED, Change, ObjectChange, Plan, Verdict
from provisioner.operate import drain, haproxy, nodes, pki
from provisioner.operate.kube import ApiFault, compare_objects
from provisioner.operate.tls_secrets import compare_tls_secrets
from provisioner.orchestrate.gates import lapsed
from provisioner.orchestrate.plan import applied, machines, members, owner, running
from provisioner.orchestrate.session import degraded
from provisioner.orchestrate.session.cluster_access import NO_ACCESS
from provisioner.orchestrate.session.session import Session
from provisioner.transport.pool import raise_all

# Looked at beside what is desired: they decide whether there is a cluster yet.
_EVIDENCE: tuple[Item, ...] = (
    owner.BOOTSTRAP_MARK,
    owner.JOINING_MARK,
    File(path=BOOTSTRAP_ENV, phase="etcd"),
    owner.MEMBER,
    haproxy.STATES,
)

# What a host's timer tells of the snapshots that it took.
SUMMARY = File(path=snapshots.SUMMARY, phase="etcd")

# What is asked of a host beside its items: all else there that is ours.
OWNED = {"leaves": leavings.requests(), "beside": [f"{ca.kind} {ca.path}" for ca in owner.CAS]}


def survey(session: Session, admit: Callable[[], None] = lambda: None, *, partial: bool = False) -> Plan:
    """Observe every host, compile, and return the plan; by which the session goes from then on.

    Read-only. `admit` may refuse once the facts are known, before anything is compiled from them. Raises Unreachable
    with every host that did not answer (with `partial` only when none did; `session.unreachable` then holds the
    others), RefusedForSafety where a host is another cluster's.
    """
    desired = observe(session, looked_at, admit, partial=partial, owned=OWNED)
    owner.refuse_foreign(session, bootstrap=not is_bootstrapped(session.observed))
    return _decide(session, desired, partial=partial)


def looked_at(host: HostDesired) -> tuple[Item, ...]:
    """Return what is desired on a host, what decides whether there is a cluster, and the CAs that say whose it is."""
    there = {item.path for item in host.items}
    timed = (SUMMARY,) if snapshots.PROOF in there else ()
    return (*host.items, *timed, *_EVIDENCE, *(ca for ca in owner.CAS if ca.path not in there))


def observe_ours(session: Session, hosts: Sequence[str]) -> dict[str, HostObserved | KubewrightError]:
    """Look at all that is ours on hosts of which nothing is asked any more; one that does not answer has its fault."""
    return session.hosts.observe_each({h: looked_at(HostDesired(h, ())) for h in hosts}, owned=OWNED)


def observe(
    session: Session, choose: Callable[[HostDesired], Sequence[Item]], admit: Callable[[], None] = lambda: None,
    *, partial: bool, owned: Mapping[str, Any] | None = None,
) -> Desired:
    """Ask for the facts, compile, and look at what `choose` names on each host; as `survey`, without its comparison.

    With `owned`, also at what else there is ours.
    """
    asked = [h for h in session.cluster.machines if h.name not in session.unreachable]
    session.target.observed = _observe(session, {h.name: (applied.ITEM,) for h in asked}, partial=partial)
    for said in applied.on_hosts(session)[:1]:
        running.follow(session, said)
    admit()
    desired = _compile(session)
    session.target.observed = _observe(session, {h.name: choose(h) for h in desired.hosts.values()}, partial=partial,
                                       owned=owned)
    return desired


def _observe(session: Session, items: Mapping[str, Sequence[Item]], *, partial: bool,
             owned: Mapping[str, Any] | None = None) -> dict[str, HostObserved]:
    outcomes = session.hosts.observe_each(items, owned=owned)
    seen = {host: o for host, o in outcomes.items() if isinstance(o, HostObserved)}
    if not partial or not seen:
        return _all(session, outcomes)
    session.run.unreachable |= {host: o for host, o in outcomes.items() if isinstance(o, KubewrightError)}
    return seen


def _all(session: Session, outcomes: Mapping[str, HostObserved | KubewrightError]) -> dict[str, HostObserved]:
    """Return what was seen where every host answered; say what it cost, and how to go on where only workers did not."""
    silent = [host for host, o in outcomes.items() if isinstance(o, KubewrightError)]
    try:
        return raise_all(outcomes)
    except Unreachable as fault:
        without = degraded.without(session, silent)
        fault.details = (*fault.details, *(() if session.run.written else ("nothing was changed on any host",)),
                         *((f"to go on without: {without}",) if without else ()))
        raise


def create_secrets(session: Session) -> Plan:
    """Make this inventory's CAs and secrets, and the plan anew with them; what was observed still holds."""
    session.target.secrets.create(session.cluster.cluster)
    return _decide(session, _compile(session))


def _compile(session: Session) -> Desired:
    facts = {name: observed.facts for name, observed in session.observed.items()}
    secrets = session.target.secrets
    target = session.target
    return compile_cluster(session.cluster, facts, target.artifacts, secrets.refs(), secrets.public(), target.nodes,
                           target.trial)


def _decide(session: Session, desired: Desired, *, partial: bool = False) -> Plan:
    bootstrap = not is_bootstrapped(session.observed)
    changes = compare(desired, session.observed, read_certificates(session), time.time())
    found = members.NOTHING if bootstrap else members.look(session, desired)
    lost, session.target.joining = found.lost, found.joining
    changes = members.without_starts(changes, lost)
    ours = removal.of_hosts(desired, session.observed)
    changes = (*ours.early, *changes, *ours.late)
    live, marked = _nodes(session, partial=partial)
    session.target.machine_ids = machines.known(live or ())
    names = {str(n["metadata"]["name"]): n for n in live or ()}
    connected = {name for name, node in names.items() if nodes.is_connected(node)}
    if live is not None:
        changes += of_lost_nodes(desired, session.observed, changes, names, connected)
    if not bootstrap and not partial:
        gone = lapsed.reasons(session, connected)
        changes += again(desired, session.observed, changes, lambda host, unit: gone.get((host, unit.path), ""))
    marks = [change for change in nodes.node_changes(session.cluster, live, marked)
             if change.identity.removeprefix(nodes.KIND) not in session.unreachable]
    others = (*_object_changes(session, desired, live=not bootstrap, partial=partial), *marks,
             *nodes.removals(names, _no_nodes(desired, changes, marked)))
    objects, kept = _without_namespaces(session, others)
    asked = session.target.made_from
    return session.go_by(Plan(
        cluster=session.cluster.cluster, desired=desired, changes=changes, objects=objects,
        bootstrap=bootstrap, checked=sum(len(h.items) for h in desired.hosts.values()) + len(desired.objects),
        strangers=_strangers(session, live or ()), drained_servers=_drained_servers(session),
        cordoned=tuple(name for name, node in names.items() if name in session.cluster.hosts
                       and drain.is_ours(node) and not drain.is_kept(node)),
        lost=lost,
        members=found.changes, voters=found.voters,
        verdicts=(*kept, *ours.kept, *running.on_trial(session), *machines.verdicts(session)),
        inventory_digest=digest(asked.cluster), lock_digest=digest(asked.lock)))


def _no_nodes(desired: Desired, changes: Sequence[Change], marked: Collection[str]) -> list[str]:
    """Return the hosts that are to be no Node and have one of ours, also where a killed run took the kubelet already.
    """
    going = {c.host for c in changes if (c.path, c.action) == ("kubelet.service", "remove")}
    return [host.name for host in desired.hosts.values()
            if host.find("unit", "kubelet.service") is None and host.name in (going | set(marked))]


def _without_namespaces(session: Session, objects: Sequence[ObjectChange]) -> tuple[
        tuple[ObjectChange, ...], tuple[Verdict, ...]]:
    """Return the changes but for Namespaces to be removed, and what is said of these: with one goes all that is in it.
    """
    gone = [c for c in objects if c.action == "remove" and c.identity.startswith("Namespace ")]
    if owner.NAMESPACE in session.run.allowed:
        gone = []
    why = f"it is left, with all that is in it; --allow {owner.NAMESPACE} deletes both"
    told = tuple(Verdict(c.identity, owner.NAMESPACE, NOTED, why, "applied by us", "no longer desired") for c in gone)
    return tuple(c for c in objects if c not in gone), told


def is_bootstrapped(observed: Mapping[str, HostObserved]) -> bool:
    """Say whether the etcd cluster was ever up: one host that remembers is enough."""
    return any(o.state("file", BOOTSTRAPPED) != ABSENT for o in observed.values())


def is_built(session: Session) -> bool:
    """Ask the etcd hosts whether the cluster was ever up; raises one error with those that do not answer.

    Those that do are believed where one of them remembers.
    """
    marker = File(path=BOOTSTRAPPED, phase="etcd")
    outcomes = session.hosts.observe_each({h.name: (marker,) for h in session.cluster.etcd_hosts})
    seen = {h: o for h, o in outcomes.items() if isinstance(o, HostObserved)}
    return is_bootstrapped(seen) or is_bootstrapped(raise_all(outcomes))


def _drained_servers(session: Session) -> dict[str, tuple[str, ...]]:
    """Return which API servers a run took out of service and did not put back, and in whose HAProxy."""
    hosts: dict[str, list[str]] = {}
    for host, observed in session.observed.items():
        for server in haproxy.drained(haproxy.said(observed)):
            hosts.setdefault(server, []).append(host)
    return {server: tuple(names) for server, names in sorted(hosts.items())}


def read_certificates(session: Session) -> Certificates:
    """Read every observed leaf certificate against this inventory's CAs."""
    cas = session.target.secrets.ca_certificates()
    seen = {}
    for host, observed in session.observed.items():
        for (kind, path), item in observed.items.items():
            if kind == "certificate" and "pem" in item.extra:
                certificate = pki.read(str(item.extra["pem"]), cas)
                if certificate is not None:
                    seen[host, path] = certificate
    return seen


def _object_changes(session: Session, desired: Desired, *, live: bool, partial: bool) -> tuple[ObjectChange, ...]:
    """Compare the Kubernetes objects; while no API server runs or we have no rights there yet, all are to add.

    Where the way to the API is closed to us nothing is known of them: Unreachable, with `partial` none are told of.
    """
    if not _api_runs(session):
        return compare_objects(None, desired.objects)
    try:
        client = session.access.kube()
        leaves = compare_tls_secrets(client, desired.objects, session.target.secrets.ca_certificates(), time.time())
        return (*leaves, *compare_objects(client, desired.objects))
    except ApiFault as fault:
        if fault.status not in (0, 401, 403) and fault.status < 500:
            raise
    except GateFailed as fault:
        if fault.code != NO_ACCESS:
            raise
    except Unreachable:
        if not partial:
            raise
        return ()
    session.access.forget_credentials()
    return compare_objects(None, desired.objects, unseen="the API does not answer" if live else "no API yet")


def _api_runs(session: Session) -> bool:
    return any(session.observed[h.name].runs("kube-apiserver.service")
               for h in session.cluster.control_planes if h.name in session.observed)


def _nodes(session: Session, *, partial: bool) -> tuple[list[dict[str, Any]] | None, nodes.Owned]:
    """Return the Nodes that the API has and what of their labels and taints is ours; None while it cannot be asked."""
    if not _api_runs(session):
        return None, {}
    try:
        kube = session.access.kube()
        return kube.nodes(), nodes.owned(kube)
    except (ApiFault, GateFailed):
        session.access.forget_credentials()
        return None, {}
    except Unreachable:
        if not partial:
            raise
        return None, {}


def _strangers(session: Session, nodes: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return Nodes that the inventory does not name; `up` names them and leaves them alone."""
    return tuple(sorted({str(n["metadata"]["name"]) for n in nodes} - set(session.cluster.hosts)))
