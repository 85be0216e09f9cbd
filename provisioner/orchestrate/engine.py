"""Walk a verb's phases: act, prove, tell. The only loop there is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from provisioner.errors import Interrupted, KubewrightError
from provisioner.orchestrate.phase import Phase
from provisioner.orchestrate.session import Session

_ALONE = nullcontext()


def run(session: Session, phases: Sequence[Phase], beside: AbstractContextManager[object] = _ALONE) -> None:
    """Run the phases in order; the first failure ends the run, told as an event and raised unchanged.

    `beside` is entered before the first phase and left after the last: what watches the run. What was done stays done:
    a re-run observes, finds it in place, and goes on from there. Ctrl-C (and SIGTERM, which is taken as such) becomes
    Interrupted.
    """
    began = time.monotonic()
    session.tell("run-start", message=session.run_id, data={"phases": [p.name for p in phases]})
    number = 0
    try:
        with beside:
            for number, phase in enumerate(phases):
                if number:
                    session.safe_point()
                _run_phase(session, phase)
    except (KeyboardInterrupt, Exception) as stop:      # told, whatever it is, and raised again
        phase = phases[number]
        status, message = _told(phase, stop)
        later = [p.name for p in phases[number + 1:]]
        session.tell("run-end", status=status, phase=phase.name, message=message,
                     seconds=time.monotonic() - began, data={"not_started": later})
        if isinstance(stop, KeyboardInterrupt):
            raise _interrupted(phase) from None
        raise
    session.tell("run-end", status="ok", seconds=time.monotonic() - began)


def _run_phase(session: Session, phase: Phase) -> None:
    began = time.monotonic()
    session.tell("phase-start", phase=phase.name, message=phase.doc)
    try:
        done = phase.act(session)
        phase.gate(session)
    except (KeyboardInterrupt, Exception) as stop:
        status, message = _told(phase, stop)
        session.tell("phase-done", phase=phase.name, status=status, message=message, seconds=time.monotonic() - began)
        raise
    session.tell("phase-done", phase=phase.name, status="ok" if done else "nothing-to-do", message=done,
                 seconds=time.monotonic() - began)


def _told(phase: Phase, stop: BaseException) -> tuple[str, str]:
    """Return status and message of what ended the phase; a bug's own words may hold anything, so only its name."""
    if isinstance(stop, KeyboardInterrupt):
        return "interrupted", _interrupted(phase).message
    return "failed", stop.message if isinstance(stop, KubewrightError) else f"this is a bug: {type(stop).__name__}"


def _interrupted(phase: Phase) -> Interrupted:
    return Interrupted(f"stopped in phase {phase.name}", hint="kubewright up", details=[
        "what was done stays done; a step that runs on a host goes on there to its end, and the next run waits for it"])
