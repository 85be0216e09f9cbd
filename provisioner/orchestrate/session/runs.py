"""What runs did: the hosts keep the results of their steps, and control planes what runs note about themselves.

This machine's events are a cache of that. Noted are a run's begin and end and the objects that it applied: acts on the
cluster that are no step of one host. What HAProxy was told is not: the next run sees in HAProxy itself what is left.
"""

from __future__ import annotations

import calendar
import getpass
import hashlib
import json
import socket
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from provisioner.artifacts.lockfile import load_lock
from provisioner.errors import KubewrightError, LockHeld, RefusedForSafety, UsageFault
from provisioner.model.applied import Applied
from provisioner.model.artifact import ArtifactLock
from provisioner.model.cluster import Cluster
from provisioner.model.inventory import Inventory
from provisioner.model.run import (
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    UNFINISHED,
    Origin,
    PhaseSeen,
    Run,
    StepSeen,
    split_step,
)
from provisioner.orchestrate.session import rundir
from provisioner.orchestrate.session.session import Session
from provisioner.transport.pool import raise_all

EVENTS = "events.jsonl"
_OUTCOMES = {"ok": DONE, "failed": FAILED, "interrupted": INTERRUPTED}
Lines = Sequence[Mapping[str, Any]]


def here(inventory: Inventory) -> list[Run]:
    """Return the runs that this machine has events of, newest first; one that changed nothing and ended has none."""
    if not inventory.runs_dir.is_dir():
        return []
    found = (_read(place) for place in sorted(inventory.runs_dir.iterdir(), reverse=True))
    return [run for run in found if run is not None]


def place(inventory: Inventory, run_id: str) -> Path:
    """Return a run's directory on this machine."""
    return inventory.runs_dir / run_id


def events(run_dir: Path) -> list[dict[str, Any]]:
    """Return a run's events as plain values; a last line that was cut off by a kill is left out."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):       # a file that somebody put among the runs
        for line in (run_dir / EVENTS).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
    return found


def _read(place: Path) -> Run | None:
    told = events(place)
    start = next((e for e in told if e["type"] == "run-start"), None)
    return None if start is None else of_events(place.name, told, start, alive=rundir.lives(place))


def of_events(run_id: str, told: Lines, start: Mapping[str, Any], *, alive: bool) -> Run:
    """Make a run of its events; `alive` says whether its process still holds the run's directory."""
    end = next((e for e in told if e["type"] == "run-end"), None)
    last = told[-1]
    outcome = _OUTCOMES.get(str(end.get("status")), FAILED) if end else RUNNING if alive else UNFINISHED
    prober = [str(e["message"]) for e in told if e["type"] == "availability"]
    data = start.get("data") or {}
    return Run(
        run_id, Origin.of(data.get("origin")), outcome, float(start["t"]),
        seconds=(end or {}).get("seconds", last["t"] - start["t"]), changes=_changes(told),
        message=str((end or {}).get("message", "")), phases=tuple(_phases(told)),
        not_started=tuple(((end or {}).get("data") or {}).get("not_started", ())),
        steps=tuple(_steps(told)), availability=prober[-1] if prober else "", options=data.get("options") or {})


def _changes(told: Lines) -> int:
    rows = [row for e in told if e["type"] == "changed" for kind in ("changes", "objects")
            for row in e["data"].get(kind, ())]
    return sum(1 for row in rows if row["result"] == "done")


def _phases(told: Lines) -> Iterable[PhaseSeen]:
    for number, e in enumerate(told):
        if e["type"] == "phase-start":
            later = (one for one in told[number:] if one["type"] == "phase-done" and one["phase"] == e["phase"])
            end = next(later, {})       # the next one: an upgrade comes to a phase again on each leg of its way
            yield PhaseSeen(e["phase"], str(end.get("status", RUNNING)), end.get("seconds"),
                            str(end.get("message", "")))


def _steps(told: Lines) -> Iterable[StepSeen]:
    """Yield what each host answered, in order, with the changes that were told of it in that phase."""
    phase = ""
    for number, e in enumerate(told):
        phase = e.get("phase", phase) if e["type"] == "phase-start" else phase
        if e["type"] == "host-done":
            name = (e.get("data") or {}).get("step")
            later = [one for one in told[number:] if one["type"] == "changed" and one.get("host") == e["host"]]
            of_step = [one for one in later if name and one["data"].get("step") == name]    # one a phase
            of_phase = [one for one in later if one.get("phase") == e.get("phase", phase)]  # older, or no step
            rows = [row for one in of_step or of_phase[:1] for row in one["data"].get("changes", ())]
            yield StepSeen(e["host"], str(name or f"{e.get('phase') or phase}.0"), str(e["status"]),
                           finished=float(e["t"]), changes=tuple(rows), message=str(e.get("message", "")))


def pick(runs: Sequence[Run], run_id: str | None) -> Run:
    """Return the run of that id or of the one id that begins so, the newest without one; UsageFault for none."""
    if not runs:
        raise UsageFault("there is no run yet", hint="kubewright up", code="run-unknown")
    if run_id is None:
        return runs[0]
    alike = [run for run in runs if run.id == run_id] or [run for run in runs if run.id.startswith(run_id)]
    if len(alike) != 1:
        raise UsageFault(f"{run_id}: {'more than one run begins so' if alike else 'no run is called so'}",
                         details=[f"  {run.id}" for run in alike], hint="kubewright runs list", code="run-unknown")
    return alike[0]


def origin(session: Session, verb: str) -> Origin:
    """Return who starts a run here and now, and what of."""
    try:
        who = getpass.getuser()
    except (KeyError, OSError):         # no name for our number
        who = "unknown"
    return Origin(verb, who, socket.gethostname(), made_from(session.cluster, session.target.artifacts))


def made_from(cluster: Cluster, lock: ArtifactLock) -> str:
    """Return a digest of all that a plan is made from here: the inventory without logins, and the artifacts."""
    return hashlib.sha256(Applied(cluster, lock).to_text().encode()).hexdigest()


def may_go_on(inventory: Inventory, run: Run, *, moved: bool) -> None:
    """Raise LockHeld for a run that lives, and RefusedForSafety when the inventory is not what it was made from.

    `moved` allows the latter: then the plan is that of the inventory as it is now.
    """
    if run.outcome == RUNNING:
        raise LockHeld(f"run {run.id} still runs on {run.origin.machine or 'this machine'}",
                       hint=f"kubewright runs show {run.id}")
    if not moved and run.origin.inventory and not is_of(inventory, run):
        raise RefusedForSafety(
            f"run {run.id} was made from another inventory than this: cluster.yaml or artifacts.lock has changed since",
            details=["nothing was changed"], code="inventory-moved",
            hint=f"kubewright plan, then kubewright up; or kubewright resume {run.id} --moved")


def is_of(inventory: Inventory, run: Run) -> bool:
    """Say whether a run was made from what cluster.yaml and artifacts.lock say now."""
    return run.origin.inventory == made_from(inventory.cluster, load_lock(inventory.artifacts_lock_path))


def begin(session: Session, phases: Sequence[str]) -> None:
    """Note on the control planes that this run begins; one that only looks leaves no trace there."""
    session.run.noting = session.plan is not None and session.plan.has_work
    note(session, "begin", phases=list(phases), origin=session.run.origin.to_json(), options=session.run.options)


def end(session: Session, status: str, seconds: float, message: str, not_started: Sequence[str]) -> None:
    """Note how this run ended."""
    note(session, "end", status=status, seconds=round(seconds, 1), message=message, changes=session.run.made,
         not_started=list(not_started))


def note(session: Session, act: str, **fields: Any) -> None:
    """Note an act on every control plane that we are connected to; a run does not fail for its notes."""
    if not session.run.noting:
        return
    acts = [{"act": act, "t": round(time.time(), 3), **fields}]
    hosts = session.hosts.standing(session.answering(session.cluster.control_planes))
    outcomes = session.hosts.map(lambda one: one.note(session.run.id, acts), hosts)
    if not any(not isinstance(o, KubewrightError) for o in outcomes.values()):
        session.tell("diagnostic", message=f"{act}: no control plane could be told; this run is known here only")


def on_hosts(session: Session, alive: Collection[str] = ()) -> list[Run]:
    """Return the runs that control planes know of, newest first; KubewrightError when none of them answers.

    `alive` are the runs that hold the cluster's lock.
    """
    best = notes_on_hosts(session)
    return [of_notes(run_id, best[run_id], alive=run_id in alive) for run_id in sorted(best, reverse=True)]


def notes_on_hosts(session: Session, *, patient: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Return what each run noted on control planes, by its id; KubewrightError when none of them answers."""
    hosts = [h.name for h in session.cluster.control_planes]
    outcomes = session.hosts.map(lambda one: one.notes(), hosts, patient=patient)
    answers = [o for o in outcomes.values() if not isinstance(o, KubewrightError)]
    if not answers:
        raise_all(outcomes)
    best: dict[str, list[dict[str, Any]]] = {}
    for answer in answers:
        for run_id, acts in answer.items():
            best[run_id] = max(best.get(run_id, []), acts, key=len)
    return best


def of_notes(run_id: str, acts: Lines, *, alive: bool) -> Run:
    """Make a run of what it noted; without an end it was killed, or it is `alive`."""
    first = next((a for a in acts if a["act"] == "begin"), {})
    last = next((a for a in acts if a["act"] == "end"), {})
    began = float(first.get("t") or calendar.timegm(time.strptime(run_id[:15], "%Y%m%d-%H%M%S")))
    outcome = _OUTCOMES.get(str(last.get("status")), RUNNING if alive else UNFINISHED)
    return Run(run_id, Origin.of(first.get("origin")), outcome, began,
               seconds=last.get("seconds"), changes=int(last.get("changes", 0)), here=False,
               message=str(last.get("message", "")), not_started=tuple(last.get("not_started", ())),
               options=first.get("options") or {})


def merged(local: Sequence[Run], others: Sequence[Run]) -> list[Run]:
    """Return both, each run once, newest first; of a run that was made here its own events are believed."""
    known = {run.id: run for run in others} | {run.id: run for run in local}
    return [known[run_id] for run_id in sorted(known, reverse=True)]


def with_steps(session: Session, run: Run) -> Run:
    """Return the run with the results that every host that answers keeps of it, and the steps that run there now."""
    outcomes = session.hosts.map(lambda one: one.steps(run.id), [h.name for h in session.cluster.machines])
    session.run.unreachable |= {h: o for h, o in outcomes.items() if isinstance(o, KubewrightError)}
    seen = [step for host, answer in outcomes.items() if not isinstance(answer, KubewrightError)
            for step in _answered(host, answer)]
    steps = tuple(sorted(seen, key=lambda s: s.finished or float("inf")))
    return replace(run, steps=steps, changes=run.changes or sum(s.made for s in steps))


def _answered(host: str, answer: Mapping[str, Any]) -> Iterable[StepSeen]:
    for result in answer["steps"]:
        name = split_step(str(result["step"]))
        if name:
            yield StepSeen(host, name[1], str(result["status"]), result.get("seconds"), result.get("finished"),
                           tuple(result.get("changes", ())))
    for step in answer["running"]:
        name = split_step(step)
        if name:
            yield StepSeen(host, name[1], RUNNING, message="runs now")
