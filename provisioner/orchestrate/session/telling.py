"""What a run did, told as events with the plan's own words: so that it can be held against what the plan said."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from provisioner.converge.results import HostResult
from provisioner.errors import KubewrightError
from provisioner.model.events import Emit, Event
from provisioner.model.plan import Change, ObjectChange
from provisioner.orchestrate.session import runs
from provisioner.orchestrate.session.session import Session

DONE = "done"
DIFF_LINES = 200    # of one change; a longer diff is cut, the rest counted


def what_begins(session: Session, phases: Sequence[str]) -> dict[str, Any]:
    """Return what a run is about to do: its phases, and what the plan holds."""
    cluster, plan = session.cluster, session.plan
    about = {"cluster": cluster.cluster, "kubernetes": cluster.kubernetes, "phases": list(phases),
             "origin": session.run.origin.to_json(), "options": session.run.options}
    if plan is None:
        return about
    return about | {"hosts": list(plan.desired.hosts), "bootstrap": plan.bootstrap, "changes": len(plan.changes),
                    "objects": len(plan.objects)}


def what_helps(stop: BaseException) -> dict[str, Any]:
    """Return what a failure says beside its headline, as the screen shows it: code, further lines, the hint."""
    if not isinstance(stop, KubewrightError):
        return {}
    return {"error": {"code": stop.code, "details": list(stop.details), "hint": stop.hint}}


def begun(session: Session, phase: str, changes: Mapping[str, Sequence[Change]], step: str = "") -> Emit:
    """Tell that work begins on hosts; the returned Emit adds phase and seconds to what is told of them until its end.
    """
    for host, of_host in changes.items():
        session.tell("host-start", phase=phase, host=host,
                     data={"changes": len(of_host)} | ({"step": step} if step else {}))
    began = time.time()

    def emit(event: Event) -> None:
        if event.type == "host-done":
            named = {"step": step} if step else {}
            event = replace(event, seconds=round(event.t - began, 3), data={**(event.data or {}), **named})
        session.run.emit(replace(event, phase=event.phase or phase))

    return emit


def of_gate(
    session: Session, phase: str, when: str, *, proved: Sequence[str], seconds: float, host: str = "",
    fault: KubewrightError | None = None,
) -> None:
    """Tell what a gate proved, and in how many seconds it came to hold; or why it did not."""
    session.tell("gate", phase=phase, host=host, status="failed" if fault else "ok", seconds=round(seconds, 3),
                 message=fault.message if fault else "", data={"when": when, "proved": list(proved)})


def of_results(
    session: Session, step: str, changes: Mapping[str, Sequence[Change]], results: Mapping[str, HostResult],
) -> None:
    """Tell what became of every change that a host was handed in a step, as the host itself answered.

    What a first start makes in one step is told by its phases. What goes down with a unit is of that one's turn.
    """
    apart = session.plan is not None and session.plan.bootstrap
    for host, result in results.items():
        if len(result.changes) == len(changes[host]):       # none where the host did not answer, or still works
            rows = [(c, str(row["result"])) for c, row in zip(changes[host], result.changes, strict=True)]
            # A stop that was made is half of a restart: the start later in the step ends it, and tells of it.
            rows = [(c, became) for c, became in rows if c.action != "stop" or became not in ("done", "skipped")]
            _tell_what_stays(session, host, result.changes)
            for phase in dict.fromkeys(c.phase for c, _ in (rows if apart else rows[:1])):
                _tell(session, host, phase, step,
                      changes=[_row(c, became) for c, became in rows if c.phase == phase or not apart])


def _tell_what_stays(session: Session, host: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Tell what was to go and was kept: a package that another needs, a directory with somebody's file in it."""
    said = (f"{row['path']}: {row['detail']}" for row in rows
            if row["result"] == DONE and "kept" in str(row.get("detail", "")))
    for words in dict.fromkeys(said):
        session.tell("diagnostic", host=host, message=f"{host}: {words}")


def of_changes(session: Session, host: str, changes: Sequence[Change]) -> None:
    """Tell that changes were made for which the host answers no rows: packages and settings, streamed binaries."""
    if changes:
        _tell(session, host, changes[0].phase, changes=[_row(c, DONE) for c in changes])


def of_objects(session: Session, changes: Sequence[ObjectChange]) -> None:
    """Tell that Kubernetes objects were applied or deleted."""
    rows = [{"identity": c.identity, "action": c.action, "reason": c.reason, "result": DONE} | _diff(c)
            for c in changes]
    _tell(session, "", changes[0].phase, objects=rows)
    runs.note(session, "objects", phase=changes[0].phase,
                 objects=[{k: v for k, v in row.items() if k != "diff"} for row in rows])


def _row(change: Change, result: str) -> dict[str, str]:
    return {"kind": change.kind, "path": change.path, "action": change.action, "reason": change.reason,
            "result": result} | _diff(change)


def _diff(change: Change | ObjectChange) -> dict[str, str]:
    """Return the diff of what was there before; what is new stands on the host as it was compiled."""
    lines = change.diff.splitlines() if change.action != "add" else []
    if len(lines) > DIFF_LINES:
        lines[DIFF_LINES:] = [f"… {len(lines) - DIFF_LINES} more lines"]
    return {"diff": "\n".join(lines)} if lines else {}


def _tell(session: Session, host: str, phase: str, step: str = "", **data: Any) -> None:
    with session.run.lock:
        session.run.made += sum(row["result"] == DONE for rows in data.values() for row in rows)
    session.tell("changed", host=host, phase=phase, data={"step": step, **data} if step else data)
