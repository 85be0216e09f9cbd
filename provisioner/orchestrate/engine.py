"""Walk a verb's phases: act, prove, tell. The only loop there is."""

from __future__ import annotations

import time
from collections.abc import Sequence

from provisioner.errors import KubewrightError
from provisioner.orchestrate.phase import Phase
from provisioner.orchestrate.session import Session


def run(session: Session, phases: Sequence[Phase]) -> None:
    """Run the phases in order; the first failure ends the run, told as an event and raised unchanged.

    What was done stays done: a re-run observes, finds it in place, and goes on from there.
    """
    began = time.monotonic()
    session.tell("run-start", message=session.run_id, data={"phases": [p.name for p in phases]})
    for number, phase in enumerate(phases):
        try:
            _run_phase(session, phase)
        except KubewrightError as fault:
            later = [p.name for p in phases[number + 1:]]
            session.tell("run-end", status="failed", phase=phase.name, message=fault.message,
                         seconds=time.monotonic() - began, data={"not_started": later})
            raise
    session.tell("run-end", status="ok", seconds=time.monotonic() - began)


def _run_phase(session: Session, phase: Phase) -> None:
    began = time.monotonic()
    session.tell("phase-start", phase=phase.name, message=phase.doc)
    try:
        done = phase.act(session)
        phase.gate(session)
    except KubewrightError as fault:
        session.tell("phase-done", phase=phase.name, status="failed", message=fault.message,
                     seconds=time.monotonic() - began)
        raise
    session.tell("phase-done", phase=phase.name, status="ok" if done else "nothing-to-do", message=done,
                 seconds=time.monotonic() - began)


