"""Proofs that a phase worked: read-only predicates polled to a deadline, the last reason in the message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from provisioner.errors import GateFailed, KubewrightError, LockHeld, Unreachable
from provisioner.model.phases import PhaseName
from provisioner.orchestrate.gates import last_words
from provisioner.orchestrate.gates.gate_probes import (
    Probe,
    host_probes,
    probes_of,
)
from provisioner.orchestrate.session import degraded, telling
from provisioner.orchestrate.session.live_run import Abandoned
from provisioner.orchestrate.session.session import Session
from provisioner.transport.hosts import OneHost
from provisioner.transport.pool import gather

DEADLINE = 120.0   # seconds; an API server behind a slow disk needs tens of them, a broken one fails at once
STOP = 120.0       # seconds an API server may take to stop: TimeoutStopSec of its unit
INTERVAL = 0.25
MOMENT = 5.0       # seconds in which what serves answers, also on a busy host: its first attempt may take 2 in vain
ONE_LOOK = 0.1     # seconds: no host looks twice
AHEAD = 2.0        # seconds for many probes together, also on a busy host; its gate waits for what does not hold
TELL = 5.0         # seconds between two words on what a gate still waits for


def hosts_hold(
    session: Session, probes: Mapping[str, Sequence[Probe]], what: str, deadline: float = DEADLINE, *,
    when: str = "after",
) -> None:
    """Let every host poll its probes at once; GateFailed holds each host's last reasons.

    `what` and `when` name the gate: before or after a phase. A proof after a change may cost no more than the host.
    """
    wanted = {h: p for h, p in probes.items() if p and h not in session.unreachable}
    # What was seen to hold since anything was done is not asked again: a round costs every host a process.
    asked = [h for h, p in wanted.items() if not _is_proved(session, h, p, what, when)]
    # A host polls by itself until all holds or the deadline is over: one question and one answer, however long.
    outcomes = session.hosts.map(lambda one: _prove(session, one, wanted[one.name], what, deadline, when), asked)
    failed = {host: outcome for host, outcome in outcomes.items() if isinstance(outcome, KubewrightError)}
    if failed:
        session.run.stay()      # that a phase beside this one has ended the run is no fault of a host
    # After its change a worker may be given up and the others go on. Before one, nobody is: that it is unhealthy
    # already speaks against changing the next.
    failed = _not_given_up(session, failed) if when == "after" else failed
    if not failed:
        return
    fault = next(iter(failed.values())) if len(failed) == 1 else gather(failed, total=len(wanted))
    # Who is unhealthy before this run did anything may be left so by the one before: what ran then is still there.
    if when == "before" and isinstance(fault, GateFailed):
        fault.details = (*fault.details, kept_there(failed))
    raise fault


def look_ahead(session: Session, phases: Sequence[PhaseName]) -> dict[str, list[Probe]]:
    """Ask every host once for all of these phases, and return the probes that hold there now.

    For phases with nothing to do between their gates: each gate that asks in a round of its own costs all hosts a
    process.
    """
    probes = {h: p for h, p in probes_of(session, phases).items() if p and h not in session.unreachable}
    now = session.hosts.map(lambda one: one.probe(probes[one.name], AHEAD), probes, patient=False)
    return {h: [p for p, result in zip(probes[h], answer["results"], strict=True) if result["ok"]]
            for h, answer in now.items() if not isinstance(answer, KubewrightError)}


def _is_proved(session: Session, host: str, probes: Sequence[Probe], what: str, when: str) -> bool:
    """Say, and tell, whether all of this was seen to hold since anything was done."""
    there = session.target.proved.get(host, ())
    if when != "after" or not all(probe in there for probe in probes):
        return False
    telling.of_gate(session, what, when, host=host, proved=[p["name"] for p in probes], seconds=0.0)
    return True


def kept_there(hosts: Iterable[str] = ("HOST",)) -> str:
    """Say how hosts go back from what was changed there before: by an earlier run, or proved by this one."""
    commands = "; ".join(f"kubewright rollback {host}" for host in hosts)
    return f"if its last change is to blame, what ran before it is kept there: {commands}"


def _not_given_up(session: Session, failed: dict[str, KubewrightError]) -> dict[str, KubewrightError]:
    """Return the failed proofs that end the run: none where it goes on without these hosts.

    It goes on without the silent ones alone as well: a host that answers and does not hold must not pass for one that
    cannot be reached, for it can be put back.
    """
    silent = {host: fault for host, fault in failed.items() if isinstance(fault, Unreachable)}
    for faults in (failed, silent):
        if faults and degraded.give_up(session, faults, proof=True):
            return {host: fault for host, fault in failed.items() if host not in faults}
    return failed


def _prove(
    session: Session, one: OneHost, probes: Sequence[Probe], what: str, deadline: float, when: str,
) -> None:
    """Prove one host, and tell what came of it; GateFailed or Unreachable where it is not so."""
    host, began = one.name, time.monotonic()

    def tell(fault: KubewrightError | None) -> None:
        telling.of_gate(session, what, when, host=host, proved=[p["name"] for p in probes],
                       seconds=time.monotonic() - began, fault=fault)

    try:
        answer = _polled(session, one, probes, what, deadline)
        if not answer["ok"]:
            blamed = _blamed(probes, answer["results"], any_unit=what != "verify")
            raise GateFailed(f"{host}: gate {when} {what}: not so after {answer['seconds']:.0f} s: {_unmet(answer)}",
                             details=last_words.of_unit(one, blamed) if blamed else (),
                             hint=_shows_why(host, probes, answer["results"], any_unit=what != "verify"))
    except Abandoned:
        raise
    except KubewrightError as fault:
        tell(fault)
        raise
    tell(None)


def _polled(
    session: Session, one: OneHost, probes: Sequence[Probe], what: str, deadline: float,
) -> dict[str, Any]:
    """Let one host poll to the deadline, and tell every few seconds what it still waits for."""
    began = time.monotonic()
    while True:
        left = began + deadline - time.monotonic()
        answer = one.probe(_for_now(probes, deadline - left), min(TELL, left))
        seconds = time.monotonic() - began
        if answer["ok"] or answer["hopeless"] or seconds + INTERVAL >= deadline:
            return {**answer, "seconds": seconds}
        session.run.stay()
        session.tell("waiting", phase=what, host=one.name, message=_unmet(answer))


def _for_now(probes: Sequence[Probe], waited: float) -> list[Probe]:
    """Return probes as they are to be asked by a gate of this age: what has run for long may be late for a moment."""
    return [p if waited >= p.get("patience", 0.0) else {k: p[k] for k in p.keys() - {"patience"}} for p in probes]


def _unmet(answer: Mapping[str, Any]) -> str:
    return "; ".join(f"{r['name']}: {r['reason']}" for r in answer["results"] if not r["ok"])


def _blamed(probes: Sequence[Probe], results: Sequence[Mapping[str, Any]], *, any_unit: bool = True) -> str:
    """Return the unit that is not so, else, where all are of one phase (`any_unit`), the one that does not answer.

    Nothing where there is none.
    """
    units = [str(p["unit"]) for p in probes if p["kind"] == "unit"]
    down = [r["name"] for r in results if not r["ok"] and r["name"] in units]
    return next(iter(down or (units if any_unit else [])), "")


def not_so(session: Session, phases: Mapping[str, Sequence[PhaseName]]) -> dict[str, str]:
    """Return the hosts where these phases do not hold now, each with the unit to be asked why.

    One host is looked at once; where there are several, those that are well get a moment to say so.
    """
    probes = {h: [p for phase in of_host for p in host_probes(session, h, phase)] for h, of_host in phases.items()}
    moment = MOMENT if len(probes) > 1 else ONE_LOOK
    now = session.hosts.map(lambda one: one.probe(probes[one.name], moment), [h for h, p in probes.items() if p])
    return {h: _blamed(probes[h], answer["results"]) for h, answer in now.items()
            if not isinstance(answer, KubewrightError) and not answer["ok"]}


def down(session: Session, phase: PhaseName, hosts: Sequence[str]) -> dict[str, str]:
    """Return those of `hosts` where something of a phase does not serve now, each with the first reason.

    With which inputs it runs is not asked: hosts whose turn has not come are not what is desired yet.
    """
    probes = {h: [{k: p[k] for k in p.keys() - {"current"}} for p in host_probes(session, h, phase)] for h in hosts}
    now = session.hosts.map(lambda one: one.probe(probes[one.name], MOMENT), [h for h, p in probes.items() if p])
    return {h: _unmet(answer).partition("; ")[0] for h, answer in now.items()
            if not isinstance(answer, KubewrightError) and not answer["ok"]}


def others_serve(session: Session, phase: PhaseName, changed: Iterable[str]) -> None:
    """Prove that a phase's hosts without changes are not unhealthy, before any that serves is interrupted in it.

    One that an earlier run left broken would not stay the only one: it runs what it should, so it is in no plan. A host
    that cannot be asked is for the gate after the change. Whoever goes back is held up by nobody.
    """
    if session.run.as_they_run:
        return
    began = time.monotonic()
    asked = [h for h in session.the_plan.desired.hosts
             if h not in changed and h not in session.unreachable and host_probes(session, h, phase)]
    ill = down(session, phase, asked)
    fault = _ill_beside(session, phase, ill) if ill else None
    if asked:
        telling.of_gate(session, phase, "before", proved=[f"without changes and not unhealthy: {', '.join(asked)}"],
                       seconds=time.monotonic() - began, fault=fault)
    if fault is not None:
        raise fault


def _ill_beside(session: Session, phase: PhaseName, ill: Mapping[str, str]) -> GateFailed:
    without = degraded.without(session, [*(h for h in session.workers if h in session.unreachable), *ill])
    return GateFailed(f"gate before {phase}: {'; '.join(f'{host}: {why}' for host, why in ill.items())}",
                      details=["no host that serves was changed in this phase", kept_there(ill),
                               *([f"or do without: {without}"] if without else [])], hint="kubewright status")


def _shows_why(host: str, probes: Sequence[Probe], results: Sequence[Mapping[str, Any]], *, any_unit: bool) -> str:
    """Return the command that shows why: a unit's that is down, else what a probe itself `shows`, else a unit's."""
    down = _blamed(probes, results, any_unit=False)
    unmet = {r["name"] for r in results if not r["ok"]}
    shows = next((str(p["shows"]) for p in probes if "shows" in p and p["name"] in unmet), "")
    return shows if shows and not down else _journal(host, down or _blamed(probes, results, any_unit=any_unit))


def _journal(host: str, unit: str) -> str:
    """Return the command that shows why."""
    return f"kubewright logs {host} {unit.removesuffix('.service')}" if unit else "kubewright status"


def phase_holds(
    session: Session, phase: PhaseName, hosts: Sequence[str] | None = None, deadline: float = DEADLINE,
) -> None:
    """Prove a phase on `hosts` (default: all that have it)."""
    names = session.the_plan.desired.hosts if hosts is None else hosts
    hosts_hold(session, {h: host_probes(session, h, phase) for h in names}, phase, deadline)


def wait_until(
    session: Session, what: str, look: Callable[[], str], deadline: float = DEADLINE, *, when: str = "after",
    proof: str = "", blame: Callable[[], tuple[str, Sequence[str]]] = lambda: ("kubewright status", ()),
) -> None:
    """Poll `look` until it returns no reason to wait; GateFailed carries its last one.

    `proof` says what then holds; `blame` is asked once, in the end, for a command that shows more and for what was seen
    that may be the cause.
    """
    began = told = time.monotonic()
    end = began + deadline
    while True:
        try:
            reason = look()
        except LockHeld:
            raise       # another run owns the cluster: no waiting brings it back
        except KubewrightError as fault:
            reason = fault.message
        if not reason or time.monotonic() >= end:
            hint, causes = blame() if reason else ("", ())
            late = GateFailed(f"gate {when} {what}: not so after {deadline:.0f} s: {reason}", details=causes, hint=hint)
            telling.of_gate(session, what, when, proved=[proof or what], seconds=time.monotonic() - began,
                           fault=late if reason else None)
            if not reason:
                return
            raise late
        session.run.stay()
        if time.monotonic() - told > TELL:
            session.tell("waiting", phase=what, message=reason)
            told = time.monotonic()
        time.sleep(INTERVAL)


def that_serve(session: Session, probes: Mapping[str, Probe]) -> list[str]:
    """Return the hosts whose probe holds within a moment, and those that cannot be asked.

    What serves nobody may be taken away without leave of the others, so that we hear nothing must not mean this.
    """
    now = session.hosts.map(lambda one: one.probe([probes[one.name]], MOMENT), probes)
    return [h for h, answer in now.items() if isinstance(answer, KubewrightError) or answer["ok"]]
