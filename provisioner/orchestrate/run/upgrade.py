"""`upgrade`: another version of Kubernetes, on a cluster that goes on serving.

The plan, its turns and the engine are those of `up`. What is more: a snapshot of etcd before the first change, what the
target lacks and somebody uses, and turns in which a Node is drained (decide/turns.py), since its kubelet gets another
minor.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

from provisioner.artifacts import supply
from provisioner.decide import hop_config, legs, skew, turns
from provisioner.decide.upgrade import Hop, lock_of
from provisioner.errors import KubewrightError, RefusedForSafety
from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.plan import NEEDS_FLAG, NOTED, REMOVED_APIS, Plan, Verdict
from provisioner.model.trial import Trial, replaced
from provisioner.operate import deprecated
from provisioner.operate.snapshots import note_proof
from provisioner.orchestrate.gates import own
from provisioner.orchestrate.look import snapshots
from provisioner.orchestrate.look.trials import stamp
from provisioner.orchestrate.plan import applied, running
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import rehearsal, up, upgrade_back
from provisioner.orchestrate.run.options import SOAK, Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session.session import Session

_FIRST = ("etcd", "control-plane")     # stages that write what no older one may read
_GONE = ("somebody has asked an API server for it since that started, and the target has it no more: what asks for it "
         "fails when the API servers have changed")


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Return the plan of the first part of the way to the inventory's version; reads only.

    Raises what `up` does, and RefusedForSafety where there is no cluster yet, or where somebody uses what the target
    lacks and that was not allowed.
    """
    session.run.go_on, session.run.go_back = again(intent), lambda: upgrade_back.command(session)
    own.refuse_unknown(session.target.inventory)
    session.target.follows = False
    found = on_the_way(session, intent, agreed, up.fit(session, intent))
    found = judged(session, intent, up.judged(session, intent, agreed, found))
    applied.need_flags(session.target.inventory, found.verdicts, agreed.allowed, verb="upgrade")
    return up.may_start(session, intent, found)


def on_the_way(session: Session, intent: Intent, agreed: Agreed, found: Plan) -> Plan:
    """Turn the session to the first part of the way from what runs, and return its plan; reads only.

    `found` is the plan of the whole, and that of the first part where there is but one. Raises RefusedForSafety where
    there is no cluster yet, or where no rule of skew lets it come there.
    """
    if found.bootstrap:
        raise RefusedForSafety("there is no cluster yet to be upgraded", code="no-cluster", hint="kubewright up",
                               details=["nothing was changed"])
    agreed_until = next((leg.until for leg in agreed.plan.legs if leg.until), "") if agreed.plan else ""
    soak = bool(agreed_until) if agreed.plan else intent.soak > 0
    until = agreed_until or stamp(time.time() + intent.soak)
    state = running.state(session)
    ahead = legs.ahead(state, skew.pinned(session.target.made_from.lock), soak=soak, finish=intent.finish)
    running.refuse(session, [fault for fault in ahead.refused if fault.rule not in session.run.allowed],
                   "kubewright upgrade --plan")
    _refuse_without_trial(session, intent, state)
    _refuse_not_taken(session, ahead)
    goal = legs.standing(state, ahead.stands) if ahead.stands else ahead.legs[0].goal if ahead.legs else None
    if goal is not None and (len(ahead.legs) > 1 or goal.emulates):
        _turn(session, goal, until)
        found = survey(session)
    ends = session.target.trial.until if session.target.trial else until
    shown = tuple(leg.shown(ends) for leg in ahead.legs)
    return session.go_by(replace(found, legs=() if ahead.stands else shown))


def _turn(session: Session, goal: Hop, until: str) -> None:
    """Let the run work towards what is so after a part of the way."""
    asked = session.target.made_from
    then = running.record(session)
    lock = lock_of(goal, final=asked.lock, applied=then.lock, known=_known(asked.lock))
    trial = then.trial if then.trial and then.trial.emulates == goal.emulates else None
    if goal.emulates and trial is None:
        trial = Trial(goal.emulates, until, then.cluster.kubernetes, replaced(then.lock, lock))
    cluster = asked.cluster.model_copy(update={"kubernetes": goal.kubernetes})
    session.turn_to(replace(session.target.inventory, cluster=cluster), lock, trial)


def _known(lock: ArtifactLock) -> list[LockedArtifact]:
    """Return the files whose digest is known, of the sources that a lock has: bytes of another are not what was meant.
    """
    sources = {artifact.source for artifact in lock.artifacts}
    return [artifact for artifact in supply.known() if artifact.source in sources]


def _refuse_without_trial(session: Session, intent: Intent, state: skew.State) -> None:
    """Raise RefusedForSafety where a trial is to be ended and there is none."""
    if intent.finish and not (legs.on_trial(state) or running.record(session).trial):
        raise RefusedForSafety("no minor of Kubernetes is on trial that could be finished", code="no-trial",
                               details=["nothing was changed"], hint="kubewright upgrade --plan")


def _refuse_not_taken(session: Session, ahead: legs.Ahead) -> None:
    """Raise RefusedForSafety where a version on the way does not take what `config:` sets: named before it begins."""
    asked = session.target.made_from
    arrived = (asked.cluster.kubernetes, asked.cluster.kubernetes, "")      # that one the inventory was judged for
    goals = [leg.goal for leg in ahead.of_run]
    between = [goal for goal in goals if (goal.kubernetes, goal.nodes, goal.emulates) != arrived]
    faults = hop_config.not_taken(asked.cluster, between)
    if faults:
        name = os.path.relpath(session.target.inventory.file)
        raise RefusedForSafety(f"{name}: {faults[0]}", code="config-on-the-way", details=[
            *faults[1:], "a version on the way runs with it, and would not start", "nothing was changed"],
            hint="kubewright upgrade --plan    # without it; put it back when the cluster has arrived")


def onward(session: Session, intent: Intent, agreed: Agreed) -> Plan | None:
    """Return the plan of the next part of the way, when one was proved; None where the run has come to its end.

    Reads only. Raises RefusedForSafety as the first part does: what was done stays done.
    """
    target = session.target
    if not session.is_whole or target.trial or target.applied == target.made_from:
        return None
    asked = target.made_from
    session.turn_to(replace(target.inventory, cluster=asked.cluster), asked.lock)
    found = on_the_way(session, replace(intent, finish=False), agreed, survey(session))
    session.tell("diagnostic", message=f"The way goes on: {found.legs[0].says if found.legs else 'to its end'}")
    running.refuse_older(session)
    return judged(session, intent, found)


def judged(session: Session, intent: Intent, found: Plan) -> Plan:
    """Return a plan of what differs as one of an upgrade, with all that a person is told of it; reads only.

    Raises RefusedForSafety where only a part was asked for, and its end breaks a rule of skew.
    """
    if session.target.narrowed:
        faults = skew.faults(skew.after(running.state(session), found.changes))
        running.refuse(session, [fault for fault in faults if fault.rule not in session.run.allowed],
                       "kubewright upgrade --plan")
    return _noted(session, found)


def _noted(session: Session, found: Plan) -> Plan:
    """Return the plan with what becomes of Pods, and with what else speaks against it; reads only."""
    found = rehearsal.noted(session, found)
    gone = _removed(session, found) if moves(found) else []
    return session.go_by(replace(found, verdicts=(*found.verdicts, *gone)))


def again(intent: Intent) -> str:
    """Return the command that goes on with an upgrade, no further than this one was to go and within its budgets."""
    words = ["kubewright upgrade"] + (["--finish"] if intent.finish else [])
    words += [] if intent.soak == SOAK else [f"--soak {intent.soak:.0f}s"] if intent.soak else ["--no-soak"]
    return " ".join([*words, *(f"--allow {word}" for word in intent.allow), *intent.bounds()])


def moves(found: Plan) -> bool:
    """Say whether members or API servers will be, or behave as, another version: then the data is to be kept first.

    The end of a trial moves no link, and is what cannot go back.
    """
    return any(stage in _FIRST for leg in found.legs for stage in leg.stages) or turns.moves_version(
        c for c in found.changes if c.phase in _FIRST)


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


def _removed(session: Session, found: Plan) -> list[Verdict]:
    """Return what somebody uses and the run's end lacks, and which API servers could not be asked.

    A minor on trial still has what the one before had.
    """
    tried = next((leg.emulates for leg in found.legs if leg.emulates), "")
    acts_as = f"{tried}.0" if tried else session.target.made_from.cluster.kubernetes
    used: list[deprecated.Requested] = []
    told: list[Verdict] = []
    for host in session.answering(session.cluster.control_planes):
        try:
            used += deprecated.parse(session.access.api_server(host).text("/metrics"))
        except KubewrightError as fault:
            told.append(Verdict(host, REMOVED_APIS, NOTED, f"not looked at which old APIs are in use: {fault.message}"))
    gone = deprecated.gone_in(used, acts_as)
    return [*told, *(Verdict(str(one), REMOVED_APIS, NEEDS_FLAG, f"{_GONE}; "
                             f"{deprecated.stored(session.access.kube(), one)}", "in use",
                             f"gone in {'.'.join(map(str, one.removed or ()))}") for one in gone)]
