"""What runs did: this machine's events are a cache of it, the results that the hosts keep are the truth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from provisioner.errors import UsageFault
from provisioner.model.inventory import Inventory
from provisioner.model.run import DONE, FAILED, INTERRUPTED, RUNNING, UNFINISHED, Origin, PhaseSeen, Run, StepSeen
from provisioner.orchestrate import rundir

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
    with suppress(FileNotFoundError):
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
    ends = {e["phase"]: e for e in told if e["type"] == "phase-done"}
    for e in told:
        if e["type"] == "phase-start":
            end = ends.get(e["phase"], {})
            yield PhaseSeen(e["phase"], str(end.get("status", RUNNING)), end.get("seconds"),
                            str(end.get("message", "")))


def _steps(told: Lines) -> Iterable[StepSeen]:
    """Yield what each host answered, in order, with the changes that were told of it in that phase."""
    phase = ""
    for number, e in enumerate(told):
        phase = e.get("phase", phase) if e["type"] == "phase-start" else phase
        if e["type"] == "host-done":
            rows = next((later["data"].get("changes", ()) for later in told[number:]
                         if later["type"] == "changed" and later.get("host") == e["host"]), ())
            name = (e.get("data") or {}).get("step") or f"{e.get('phase') or phase}.0"
            yield StepSeen(e["host"], str(name), str(e["status"]), finished=float(e["t"]),
                           changes=tuple(rows), message=str(e.get("message", "")))


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
