"""Which versions hosts run, and what of them `up` would take back although no older one reads what they wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence

from provisioner.decide import skew
from provisioner.errors import RefusedForSafety
from provisioner.model.applied import Applied
from provisioner.model.plan import NOTED, Verdict
from provisioner.orchestrate.plan import applied
from provisioner.orchestrate.session.session import Session

_UNREADABLE = ("minor-downgraded", "etcd-downgraded")


def state(session: Session) -> skew.State:
    """Return what runs: what was last applied, and in its place what the observed hosts' links lead to."""
    then = record(session)
    emulates = then.trial.emulates if then.trial else ""
    return skew.seen(skew.laid_out(then.cluster, then.lock, emulates), session.observed)


def record(session: Session) -> Applied:
    """Return what the hosts say was last applied; where none does, what is worked towards."""
    said = applied.on_hosts(session)
    return said[0] if said else session.target.applied


def follow(session: Session, said: Applied) -> None:
    """Let the target be what `said` was applied where that is a minor on trial, and nobody came to end it."""
    target = session.target
    if target.follows and said.trial and said.cluster.kubernetes == session.cluster.kubernetes:
        target.follow(said)


def on_trial(session: Session) -> tuple[Verdict, ...]:
    """Return what a plan says where it leaves a minor on trial, or puts one there."""
    trial = session.target.trial
    if trial is None:
        return ()
    said = (f"{trial.words(session.cluster.kubernetes)}: then `kubewright upgrade --finish`, or `kubewright upgrade "
            "--back`; artifacts.lock waits for the first")
    return (Verdict("kubernetes", "on-trial", NOTED, said),)


def refuse_half_way(session: Session) -> None:
    """Raise RefusedForSafety where a run was about to end a trial, or to go back from it: `up` does neither.

    By what was applied it would take all back to the trial, and an API server that has behaved as the new minor may
    have written what no older one reads.
    """
    trial = session.target.trial
    if trial is None:
        return
    said = skew.laid_out(session.cluster, session.target.artifacts, trial.emulates)
    differs = [f"{place.host}: {place.component} {runs}, on trial it is {said[place]}" for place, runs in
               state(session).items() if place.component in skew.AS_OLD and runs != said.get(place, runs)]
    if differs:
        raise RefusedForSafety(
            f"{differs[0]}: `up` neither ends a trial of Kubernetes {session.cluster.kubernetes} nor goes back from it",
            code="trial-half-way", hint="kubewright upgrade --back    # refused by the rule's name where it may not",
            details=[*differs[1:], "nothing was changed", "to go on: kubewright upgrade --finish"])


def refuse_etcd_minor(session: Session) -> None:
    """Raise RefusedForSafety where members would get another minor of etcd, as artifacts.lock alone can ask for.

    Once all have it there is no way back but a snapshot, and only `upgrade` takes one before.
    """
    want = skew.pinned(session.target.artifacts).get(skew.ETCD)
    now = {runs.version for place, runs in state(session).items() if place.component == skew.ETCD}
    if want and any(version[:2] < want[:2] for version in now):
        raise RefusedForSafety(
            f"artifacts.lock: etcd {min(now)} to {want}: etcd's data is kept before its minor changes: `upgrade` does "
            "that, `up` does not",
            code="etcd-minor-changed", hint="kubewright upgrade", details=["nothing was changed"])


def refuse_older(session: Session) -> None:
    """Raise RefusedForSafety where hosts run a later minor than the inventory asks for.

    Half-way through an upgrade what was applied is still the old version, so that an inventory set back to it looks
    like no change at all: only the hosts tell that data of the later minor may have been written.
    """
    newer = [fault for fault in skew.downgrades(state(session), skew.pinned(session.target.artifacts))
             if fault.rule in _UNREADABLE]
    refuse(session, newer, "kubewright upgrade, with the later version in it again; or kubewright rollback HOST")


def refuse(session: Session, faults: Sequence[skew.Fault], hint: str, *, what: str = "") -> None:
    """Raise RefusedForSafety with all that breaks a rule of skew, and who says so; nothing where nothing does.

    `what` would break it; by default what the inventory asks for.
    """
    if not faults:
        return
    raise RefusedForSafety(
        f"{what or os.path.relpath(session.target.inventory.file)}: {faults[0]}", code=faults[0].rule, hint=hint,
        details=[*map(str, faults[1:]), *dict.fromkeys(f"{skew.RULES[f.rule].says}: {f.source}" for f in faults),
                 "nothing was changed"])
