"""Nodes without Pods while they change: judged, cordoned, emptied, and given back. One act for whoever needs it.

`look` and `rehearsed` read, for plans; `drain_nodes` empties Nodes for good, and `drained` for as long as a turn takes.
How long and against which budgets stands in `session.run.draining`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from provisioner.decide import draining as deciding
from provisioner.decide.rehearsing import rehearse
from provisioner.errors import GateFailed, KubewrightError, LockHeld
from provisioner.model.draining import Body, Drain, Placed, Rehearsed, controller_of, is_ready
from provisioner.model.phases import PhaseName
from provisioner.model.plan import ObjectChange
from provisioner.operate import drain
from provisioner.operate.kube import ApiFault
from provisioner.orchestrate.gates import proofs
from provisioner.orchestrate.session import telling
from provisioner.orchestrate.session.phase import counted
from provisioner.orchestrate.session.session import Session
from provisioner.parallel import ask_all

PHASE: Final[PhaseName] = "node"
AT_ONCE = 8                     # Nodes of one turn that are emptied beside one another
NAMED = 3                       # Pods that are named while they are waited for
_LASTING = ("ReplicaSet", "StatefulSet", "ReplicationController")   # whose Pods are to be there again


def look(session: Session, hosts: Sequence[str], force: Collection[str] = ()) -> tuple[Drain, ...]:
    """Return what it means to drain these Nodes together, as it is now; a host without a Node is left out. Reads only.
    """
    if not hosts:
        return ()
    placed = drain.placed(session.access.kube())
    there = [host for host in hosts if host in placed.node]
    return tuple(deciding.judge(placed, host, force, with_it=there, ours=drain.is_ours(placed.node[host]))
                 for host in there)


def rehearsed(session: Session, turns: Sequence[Sequence[str]], force: Collection[str] = ()) -> tuple[Rehearsed, ...]:
    """Return what it would mean to drain turn after turn, each back before the next begins. Reads only."""
    placed = drain.placed(session.access.kube())
    return rehearse(placed, turns, force, [name for name, node in placed.node.items() if drain.is_ours(node)])


@contextmanager
def drained(session: Session, hosts: Sequence[str]) -> Iterator[None]:
    """Keep Nodes without Pods during the block, and let them take Pods again afterwards: only by our own cordon.

    Raises GateFailed where a Pod is still there after the time that it may take; then nothing was done but evictions,
    and all of the turn's Nodes take Pods again. After a failure in the block so do those that are Ready.
    """
    kube = session.access.kube()
    try:
        drain_nodes(session, hosts, session.run.origin.verb)
        yield
    except LockHeld:
        raise
    except KeyboardInterrupt:       # nobody waits for anything any more: what is left is said by the engine
        session.run.left_behind.append(f"{', '.join(hosts)}: cordoned by this run; the next run undoes that, or: "
                                       f"kubewright node uncordon {' '.join(hosts)}")
        raise
    except KubewrightError as fault:
        well = _ready(session, hosts)
        drain.give_back(kube, [host for host in hosts if host in well], fault, whatever=False)
        ill = [host for host in hosts if host not in well]
        fault.details = (*fault.details, *(f"{host} is not Ready and stays cordoned; when it is well: "
                                           f"kubewright node uncordon {host}" for host in ill))
        raise
    session.run.still_ours()
    for number, host in enumerate(hosts):
        try:
            drain.uncordon(kube, host)
        except KubewrightError as fault:
            fault.details = (*fault.details, f"{', '.join(hosts[number:])}: still cordoned; when the API answers: "
                             f"kubewright node uncordon {' '.join(hosts[number:])}")
            raise


def drain_nodes(session: Session, hosts: Sequence[str], why: str, ahead: Sequence[str] = ()) -> None:
    """Cordon all these Nodes, then empty them beside one another; `why` is noted on them as the first words.

    Pods that came since the plan was made are forced as it was. Raises what `operate.drain.empty` does; our cordons
    stay then, for the caller to undo.
    """
    kube, run = session.access.kube(), session.run
    run.works_on(f"draining {', '.join(hosts)}", ahead)
    run.still_ours()
    there = [host for host in hosts if drain.cordon(kube, host, note(session, why))]
    found = look(session, there, run.draining.force) if run.draining.force else ()
    forced = {of_host.host: of_host.forced for of_host in found}

    def one(host: str) -> list[drain.Left]:
        return drain.empty(kube, host, run.draining.timeout, _stay(session, host), forced=forced.get(host, ()))

    for host, left in ask_all(one, there, workers=AT_ONCE, name="drain").items():
        telling.of_objects(session, [
            ObjectChange(PHASE, f"Node {host}", "change", f"is drained: {counted(len(left), 'Pod')} left"),
            *(ObjectChange(PHASE, f"Pod {pod.name}", "remove", f"{pod.how} from {host} after {pod.seconds} s")
              for pod in left)])


def one_by_one(session: Session, hosts: Sequence[str], why: str, *, keep: bool) -> None:
    """Empty Nodes one after the other, all of them cordoned before: what leaves one must not come to the next.

    Before the next, what left is Ready elsewhere. Where one cannot be drained none goes on, and they take Pods again:
    all of them, or with `keep` those that are not empty.
    """
    if not hosts:
        return
    kube, run, done = session.access.kube(), session.run, list[str]()
    try:
        run.still_ours()
        for host in hosts:
            drain.cordon(kube, host, note(session, why))
        for number, host in enumerate(hosts, 1):
            before = drain.placed(kube)
            drain_nodes(session, [host], why, ahead=hosts[number:])
            done.append(host)
            if number < len(hosts):
                pods_are_back(session, before, host, run.draining.timeout, without=hosts)
    except KubewrightError as fault:
        drain.give_back(kube, [host for host in hosts if not (keep and host in done)], fault, whatever=keep)
        if keep and done:
            fault.details = (*fault.details, f"drained, and left so: {', '.join(done)}; to undo it: "
                             f"kubewright node uncordon {' '.join(done)}")
        raise
    except KeyboardInterrupt:       # nobody waits for anything any more: what is left is said by the engine
        run.left_behind.append(f"{', '.join(hosts)}: cordoned by this run; to undo it: "
                               f"kubewright node uncordon {' '.join(hosts)}")
        raise


def _stay(session: Session, host: str) -> drain.Stay:
    """Let the run be stopped between two looks, and tell now and then who is still there, and why."""
    told = [time.monotonic()]

    def stay(progress: drain.Progress) -> None:
        session.run.safe_point()
        if progress.there and time.monotonic() - told[0] > proofs.TELL:
            told[0] = time.monotonic()
            first = [f"{name}: {why}" for name, why in sorted(progress.there.items())[:NAMED]]
            more = f" and {len(progress.there) - NAMED} more" if len(progress.there) > NAMED else ""
            session.tell("waiting", phase=PHASE, host=host, message=f"{host} still has {'; '.join(first)}{more}")

    return stay


def note(session: Session, why: str) -> str:
    """Return what is noted on a Node that we cordon: for what, by whom, in which run, since when."""
    origin = session.run.origin
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"{why} by {origin.who or 'somebody'} on {origin.machine or 'a machine'}, run {session.run.id}, {since}"


def ready_pods(placed: Placed) -> Mapping[str, int]:
    """Return how many Pods of each lasting controller are Ready and not ending, by its uid."""
    found: dict[str, int] = {}
    for pod in placed.pods:
        owner = controller_of(pod)
        if owner and owner["kind"] in _LASTING and is_ready(pod) and not pod["metadata"].get("deletionTimestamp"):
            found[str(owner["uid"])] = found.get(str(owner["uid"]), 0) + 1
    return found


def pods_are_back(session: Session, before: Placed, host: str, timeout: float, *, without: Sequence[str]) -> None:
    """Wait until whoever had Pods on `host` has as many Ready as there were, or as it wants now; GateFailed if that is
    late.

    `without` are the Nodes that take none yet; a Pod that only they could run is not waited for.
    Asked before the next Node is drained: what left without a budget would else leave twice at once.
    """
    had = ready_pods(before)
    went = {str(owner["uid"]): (pod, owner) for pod in before.on.get(host, ()) if (owner := controller_of(pod))
            and owner["kind"] in _LASTING and deciding.moves(pod, before, without)}
    end = time.monotonic() + timeout
    while late := _late(session, had, went):
        if time.monotonic() >= end:
            raise GateFailed(
                f"{host}: drained, and what left is not Ready elsewhere after {timeout:.0f} s: {', '.join(late)}",
                code="pods-not-back", hint="kubectl get pods --all-namespaces -o wide")
        session.run.safe_point()
        time.sleep(drain.INTERVAL)


def _late(session: Session, had: Mapping[str, int], went: Mapping[str, tuple[Body, Body]]) -> list[str]:
    """Return who has fewer Pods Ready than there were, and than are wanted now: many are scaled down or replaced by a
    newer one meanwhile, whose Pods never come again. One that cannot be asked for a moment is late."""
    kube = session.access.kube()
    names = {uid: deciding.owner_of(pod) for uid, (pod, _) in went.items()}
    try:
        now = ready_pods(drain.pods_of(kube, sorted({str(pod["metadata"]["namespace"]) for pod, _ in went.values()})))
        return sorted(names[uid] for uid, (pod, owner) in went.items() if now.get(uid, 0) < had.get(uid, 0)
                      and now.get(uid, 0) < drain.wanted_by(kube, owner, str(pod["metadata"]["namespace"])))
    except ApiFault as fault:
        if not drain.may_pass(fault):
            raise
        return [f"{name} (not looked at: {fault.message})" for name in sorted(names.values())]


def _ready(session: Session, hosts: Sequence[str]) -> set[str]:
    """Return the hosts whose Node is Ready; all of them where the API does not tell, for the fault says so as well."""
    try:
        nodes = session.access.kube().nodes_by_name()
    except KubewrightError:
        return set(hosts)
    return {host for host in hosts if host not in nodes or is_ready(nodes[host])}
