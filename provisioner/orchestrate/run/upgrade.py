"""`upgrade`: another version of Kubernetes, on a cluster that goes on serving.

The plan, its turns and the engine are those of `up`. What is more: a snapshot of etcd before the first change, what the
target lacks and somebody uses, and turns in which a Node is drained (decide/turns.py), since its kubelet gets another
minor.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from provisioner.decide import skew, turns
from provisioner.decide import upgrade as way
from provisioner.errors import KubewrightError, RefusedForSafety
from provisioner.model.draining import ENDS, WAITS, Rehearsed
from provisioner.model.guards import DRAINED
from provisioner.model.plan import NEEDS_FLAG, NOTED, REMOVED_APIS, Plan, Verdict
from provisioner.operate import deprecated
from provisioner.operate.snapshots import note_proof
from provisioner.orchestrate.gates import own
from provisioner.orchestrate.look import snapshots
from provisioner.orchestrate.plan import applied, running
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.run import up
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import draining
from provisioner.report.drain_text import hold_text

_GONE = ("somebody has asked an API server for it since that started, and the target has it no more: what asks for it "
         "fails when the API servers have changed")


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return the plan by which the cluster comes to the inventory's version; reads only.

    Raises what `up` does, and RefusedForSafety where there is no cluster yet, or where somebody uses what the target
    lacks and that was not allowed.
    """
    session.run.go_on = again(intent)
    own.refuse_unknown(session.target.inventory)
    found = judged(session, up.plan(session, intent, agreed))
    applied.need_flags(session.target.inventory, found.verdicts, agreed.allowed, verb="upgrade")
    return found


def judged(session: Session, found: Plan) -> Plan:
    """Return a plan of what differs as one of an upgrade, with all that a person is told of it; reads only.

    Raises RefusedForSafety where there is no cluster yet, or where no rule of skew lets it come there.
    """
    if found.bootstrap:
        raise RefusedForSafety("there is no cluster yet to be upgraded", code="no-cluster", hint="kubewright up",
                               details=["nothing was changed"])
    _refuse_illegal(session, found)
    return _noted(session, found)


def _refuse_illegal(session: Session, found: Plan) -> None:
    """Raise RefusedForSafety where the way from what runs breaks a rule, or its end, if only a part was asked for."""
    state = running.state(session)
    refused = [*way.plan(state, skew.pinned(session.target.artifacts)).refused]
    if not refused and session.target.narrowed:
        refused = skew.faults(skew.after(state, found.changes))
    running.refuse(session, [fault for fault in refused if fault.rule not in session.run.allowed],
                   "kubewright upgrade --plan")


def _noted(session: Session, found: Plan) -> Plan:
    """Return the plan with what becomes of Pods, and with what else speaks against it; reads only."""
    roll = [turn.hosts for stage in found.stages for turn in stage.turns if DRAINED in turn.guards]
    if roll:
        rehearsal = draining.rehearsed(session, roll)
        found = replace(found, drains=tuple(one.drain for one in rehearsal),
                        verdicts=(*found.verdicts, *_held_up(rehearsal)))
    gone = _removed(session) if moves(found) else []
    return session.go_by(replace(found, verdicts=(*found.verdicts, *gone)))


def _held_up(rehearsal: Sequence[Rehearsed]) -> Iterator[Verdict]:
    """Yield what a drain waits for, or takes away for a while, as it looks now."""
    for one in rehearsal:
        told = [f"budget {hold_text(hold)}" for hold in one.drain.holds]
        told += [f"{pod.full_name}: {pod.why}" for pod in one.drain.leaving if pod.fate in (ENDS, WAITS)]
        told += [f"{name}: its only Pod is away until another is Ready" for name in one.single]
        yield from (Verdict(f"drain of {one.drain.host}", "drain", NOTED, text) for text in (*told, *one.no_room))


def again(intent: Intent) -> str:
    """Return the command that goes on with an upgrade, no further than this one was to go and within its budgets."""
    words = ["kubewright upgrade", *(f"--allow {word}" for word in intent.allow), *(f"--only {h}" for h in intent.only)]
    words += [f"--until {intent.until}"] if intent.until else []
    words += [f"--slo {budget}" for budget in intent.slo]
    words += [f"--max-unavailable {intent.max_unavailable}"] if intent.max_unavailable != "1" else []
    return " ".join([*words, *(f"--without {host}" for host in intent.without)])


def moves(found: Plan) -> bool:
    """Say whether the plan gives the members or the API servers another version: then the data is to be kept first."""
    return turns.moves_version(c for c in found.changes if c.phase in ("etcd", "control-plane"))


def consent(intent: Intent, found: Plan) -> Consent:
    """Ask for the cluster as a whole."""
    return Consent(f"Upgrade cluster {found.cluster}?", f"upgrade cluster {found.cluster}")


def begin(session: Session, intent: Intent, agreed: Agreed, found: Plan) -> Plan:
    """Take a snapshot of etcd and prove that it can be restored, before anything is changed."""
    found = up.begin(session, intent, agreed, found)
    if moves(found):
        _keep_data(session)
    return found


def _keep_data(session: Session) -> None:
    began = time.monotonic()
    session.run.works_on("a snapshot of etcd")
    file = snapshots.default_file(session, time.time())
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    snapshots.take(session, file)
    proof, _ = snapshots.rehearsed(session, snapshots.opened(session, file))
    note_proof(file, proof)
    snapshots.clean(session)
    seconds = time.monotonic() - began
    session.tell("diagnostic", message=f"etcd is kept in {file}: {proof.keys} keys at revision {proof.revision}, "
                 f"proved by a restore here in {seconds:.0f} s", seconds=seconds)


def _removed(session: Session) -> list[Verdict]:
    """Return what somebody uses and the target lacks, and which API servers could not be asked."""
    used: list[deprecated.Requested] = []
    told: list[Verdict] = []
    for host in session.answering(session.cluster.control_planes):
        try:
            used += deprecated.parse(session.access.api_server(host).text("/metrics"))
        except KubewrightError as fault:
            told.append(Verdict(host, REMOVED_APIS, NOTED, f"not looked at which old APIs are in use: {fault.message}"))
    gone = deprecated.gone_in(used, session.cluster.kubernetes)
    return [*told, *(Verdict(str(one), REMOVED_APIS, NEEDS_FLAG, _GONE, "in use",
                             f"gone in {'.'.join(map(str, one.removed or ()))}") for one in gone)]
