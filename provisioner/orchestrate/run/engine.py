"""Walk a verb's phases: act, prove, tell. The only loop there is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from provisioner.errors import GateFailed, Interrupted, KubewrightError, of_full_disk
from provisioner.orchestrate.gates import proofs
from provisioner.orchestrate.gates.gate_probes import Probe
from provisioner.orchestrate.run import interrupt
from provisioner.orchestrate.run.walk import Walk
from provisioner.orchestrate.session import degraded, runs, telling
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import way_back

_ALONE = nullcontext()


def run(session: Session, phases: Sequence[Phase], beside: AbstractContextManager[object] = _ALONE,
        onward: Callable[[], Sequence[Phase]] = tuple) -> None:
    """Run the phases as walk.py orders them; the first failure ends the run, told as an event and raised unchanged.

    When all are proved, `onward` returns the phases of another pass, or none: then the run has come to its end.
    `beside` is entered before the first phase and left after the last: what watches the run. What was done stays done:
    a re-run observes, finds it in place, and goes on from there. The first Ctrl-C (or SIGTERM) stops the run at its
    next safe point, the second at once; both become Interrupted.
    """
    began = time.monotonic()
    session.tell("run-start", message=session.run.id, data=telling.what_begins(session, [p.name for p in phases]))
    walked, walk = False, _walk(session, phases)
    try:
        with interrupt.patient(session), beside:
            runs.begin(session, [p.name for p in phases])
            walk.go()
            while following := onward():
                session.run.passes += 1
                walk = _walk(session, following)
                walk.go()
        walked = True
        degraded.raise_failed(session)
    except (KeyboardInterrupt, Exception) as stop:      # told, whatever it is, and raised again
        if isinstance(stop, KeyboardInterrupt):
            _leave(session, walk.running, began)
        later = [p.name for p in walk.waiting]
        told = _interrupted(session, stop, later) if isinstance(stop, (KeyboardInterrupt, Interrupted)) else _told(stop)
        if isinstance(told, KubewrightError) and not isinstance(told, Interrupted) \
                and session.run.noting and not walked:
            _name_the_way_on(session, told)
        if not isinstance(stop, KeyboardInterrupt):     # who asked twice waits for no host
            runs.end(session, _status(told), time.monotonic() - began, _message(told), later)
        session.tell("run-end", status=_status(told), phase=walk.last, message=_message(told),
                     seconds=time.monotonic() - began, data={"not_started": later} | telling.what_helps(told))
        if told is not stop:
            raise told from None
        raise
    runs.end(session, "ok", time.monotonic() - began, "", ())
    session.tell("run-end", status="ok", seconds=time.monotonic() - began)


def _walk(session: Session, phases: Sequence[Phase]) -> Walk:
    lull = _Lull()
    walk = Walk(session, phases, lambda phase, later: _run_phase(session, walk, lull, phase, later))
    return walk


@dataclass
class _Lull:
    """Phases in a row with nothing to do: what their gates ask of hosts is asked once for all of them.

    Not so the last phase of a verb: it proves the cluster as it is in the end, however long the others waited.
    """

    left: int = 0
    proved: dict[str, list[Probe]] = field(default_factory=dict)

    def prove(self, session: Session, phase: Phase, done: str, later: Sequence[Phase]) -> None:
        """Hold the gate of `phase`, whose act said what was `done`; `later` are the phases to come one by one."""
        if done:
            self.left = 0
        elif not self.left:
            idle = list(takewhile(lambda p: session.plan and not session.changes(p.name), (phase, *later)[:-1]))
            self.left = len(idle)
            self.proved = proofs.look_ahead(session, [p.name for p in idle]) if len(idle) > 1 else {}
        session.target.proved = self.proved if self.left else {}
        self.left = max(0, self.left - 1)
        try:
            way_back.hold(session, phase.gate)
        finally:
            session.target.proved = {}       # what is done next is proved anew


def _run_phase(session: Session, walk: Walk, lull: _Lull, phase: Phase, later: Sequence[Phase]) -> None:
    began = time.monotonic()
    session.run.works_on(f"phase {phase.name}")
    hosts = len(session.changes(phase.name)) if session.plan else 0
    data: dict[str, Any] = {"hosts": hosts} if hosts else {}
    if phase.after is not None and not later and session.plan and session.plan.bootstrap:
        data["after"] = [*phase.after, *phase.gate_after]
    session.tell("phase-start", phase=phase.name, message=phase.doc, data=data or None)
    try:
        done = phase.act(session)
        walk.wait_for(phase.gate_after)
        lull.prove(session, phase, done, later)
    except (KeyboardInterrupt, Exception) as stop:
        session.tell("phase-done", phase=phase.name, status=_status(stop), message=_message(stop),
                     seconds=time.monotonic() - began)
        raise
    session.tell("phase-done", phase=phase.name, status="ok" if done else "nothing-to-do", message=done,
                 seconds=time.monotonic() - began)


def _leave(session: Session, running: Sequence[str], began: float) -> None:
    """Wait for no phase that still runs in a thread of its own: what it says from now on is not heard."""
    me, emit = threading.get_ident(), session.run.emit
    for name in running:
        session.tell("phase-done", phase=name, status="interrupted", message="stopped at once",
                     seconds=time.monotonic() - began)
    if running:
        session.run.abandoned.set()
        session.run.emit = lambda event: emit(event) if threading.get_ident() == me else None
        session.hosts.close()


def _status(stop: BaseException) -> str:
    return "interrupted" if isinstance(stop, (KeyboardInterrupt, Interrupted)) else "failed"


def _message(stop: BaseException) -> str:
    """Return what ended the phase in words; a bug's own words may hold anything, so only its name."""
    if isinstance(stop, KeyboardInterrupt):
        return "stopped at once"
    stop = _told(stop)
    return stop.message if isinstance(stop, KubewrightError) else f"this is a bug: {type(stop).__name__}"


def _told(stop: BaseException) -> BaseException:
    """Return the fault as people are told it: this machine's full disk is none of ours."""
    return of_full_disk(stop, GateFailed) or stop


def _interrupted(session: Session, stop: BaseException, later: Sequence[str]) -> Interrupted:
    """Say where the run stopped, what was not begun, what may still run on a host, and how to go on."""
    at_once = isinstance(stop, KeyboardInterrupt)
    message = f"Stopped at once in {session.run.doing}." if at_once else "Stopped."
    message += f" {', '.join(session.run.ahead)} not started." if session.run.ahead else ""
    details = [f"{host}: step {step} may still run there; the next run waits for it"
               for host, step in sorted(session.run.in_flight)] if at_once else []
    details += [f"not started: {', '.join(later)}"] if later else []
    said = stop.details if isinstance(stop, Interrupted) else ()
    return Interrupted(message, hint=session.run.go_on,
                       details=[*said, *details, *session.run.left_behind, *_the_way_back(session),
                                "what was done stays done"])


def _the_way_back(session: Session) -> list[str]:
    command = session.run.go_back()
    return [f"to go back to what ran before instead: {command}"] if command else []


def _name_the_way_on(session: Session, stop: KubewrightError) -> None:
    """Let the hint of a run that was about to change something end with the command that goes on.

    Where a host went back, whatever says why comes first, and what goes on depends on it.
    """
    stop.details = (*stop.details, *_the_way_back(session))
    if not stop.hint:
        stop.hint = session.run.go_on
    elif not session.run.as_they_run:
        stop.hint += f"{'' if stop.hint.endswith(('?', '.')) else ','} then {session.run.go_on}"
