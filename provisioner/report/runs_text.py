"""Runs as people read them: one line each, or one with its phases and what each host did."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from provisioner.model.run import PhaseSeen, Run, StepSeen
from provisioner.report.columns import in_line
from provisioner.report.impact import count

_BAD = ("stale", "failed")


def runs_table(runs: Sequence[Run]) -> Iterable[str]:
    """Yield a line for each run, newest first; `*` marks those that only the hosts know."""
    rows = [("RUN", "WHEN", "VERB", "WHO", "OUTCOME", "SECONDS", "CHANGES")]
    rows += [(run.id + ("" if run.here else " *"), _when(run.began), run.origin.verb or "-", _who(run), run.outcome,
              _seconds(run.seconds), str(run.changes)) for run in runs]
    yield from in_line(rows)
    if not all(run.here for run in runs):
        yield "* known from the hosts only: it was started on another machine, or its events here are gone"


def run_text(run: Run) -> Iterable[str]:
    """Yield the run's head, its phases in order, what each host did in them, and what ended it."""
    yield (f"Run {run.id}   {run.origin.verb or 'verb unknown'} by {_who(run)}   {_when(run.began)}   "
           f"{run.outcome}   {_seconds(run.seconds)} s   {count(run.changes, 'change')}")
    if not run.here:
        yield "Known from the hosts only: phases that no host has a step of are not shown."
    steps: dict[str, list[StepSeen]] = {}
    for step in run.steps:
        steps.setdefault(step.phase, []).append(step)
    for phase in run.phases or [PhaseSeen(name, "") for name in steps]:
        yield f"  {phase.name:<15}{_seconds(phase.seconds):>7}  {phase.status:<14}{phase.message}".rstrip()
        yield from _hosts(steps.get(phase.name, ()))
    if run.not_started:
        yield f"  not started: {', '.join(run.not_started)}"
    if run.availability:
        yield f"  prober: {run.availability}"
    if run.message:
        yield f"  ended by: {run.message}"


def done_so_far(run: Run) -> Iterable[str]:
    """Yield what a run that is gone on with had done, in a few lines."""
    yield f"Run {run.id} by {_who(run)}, {_when(run.began)}: {run.outcome}, {count(run.changes, 'change')} made"
    done = [p.name for p in run.phases if p.status in ("ok", "nothing-to-do")]
    done = done or list(dict.fromkeys(s.phase for s in run.steps if s.status == "done"))
    if done:
        yield f"  it had done: {', '.join(done)}"
    yield from (f"  {s.host}: step {s.name} still runs; it is waited for" for s in run.steps if s.status == "running")
    if run.message:
        yield f"  it ended by: {run.message}"


def _hosts(steps: Sequence[StepSeen]) -> Iterable[str]:
    for step in steps:
        there = sum(change.get("result") == "skipped" for change in step.changes)
        made = f"{step.made} of {len(step.changes)} changes made" if step.changes else ""
        made += f", {there} found in place" if there else ""
        yield f"    {step.host:<8}{step.status:<12}{step.message or made}".rstrip()
        yield from (f"      {c.get('path')}: {c.get('result')}: {c.get('detail', '')}".rstrip(": ")
                    for c in step.changes if c.get("result") in _BAD)


def _when(began: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began))


def _who(run: Run) -> str:
    return f"{run.origin.who}@{run.origin.machine}" if run.origin.who else "unknown"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f}"
