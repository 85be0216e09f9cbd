"""Carry a batch of changes to its hosts: bundles, one Ansible run, and what each host answered."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from provisioner.converge import bundle, runner
from provisioner.converge.results import HostResult, of_answer
from provisioner.errors import KubewrightError, Unreachable
from provisioner.model.desired import Certificate, File, Program, Unit
from provisioner.model.events import Emit, Event
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Change
from provisioner.operate import pki
from provisioner.orchestrate.gates import last_words
from provisioner.orchestrate.session import degraded, rundir, telling
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn.reattach import carried
from provisioner.transport.hosts import OneHost
from provisioner.transport.pool import gather

Changes = Mapping[str, Sequence[Change]]
"""A batch: host -> its changes, in the order in which they are made."""
Carry = Callable[[Session, Path, list[str], Emit], dict[str, HostResult]]
"""Brings the bundles of a directory to these hosts, and tells and returns what each answered."""


def by_ansible(session: Session, bundles: Path, hosts: list[str], emit: Emit) -> dict[str, HostResult]:
    """Let Ansible carry the bundles."""
    return runner.apply(session.target.reached, bundles, hosts, run_dir=session.run.directory, emit=emit)


def over_connections(session: Session, bundles: Path, hosts: list[str], emit: Emit) -> dict[str, HostResult]:
    """Carry the bundles over the connections of this run.

    For what the run only notes on its hosts: to start Ansible for that takes several times as long as the note.
    """
    def hand(one: OneHost) -> HostResult:
        request = json.loads(bundle.bundle_path(bundles, one.name).read_text(encoding="utf-8"))
        return of_answer(one.name, one.apply(request))

    answers = session.hosts.map(hand, hosts)
    results = {host: _of_fault(host, answer) if isinstance(answer, KubewrightError) else answer
               for host, answer in answers.items()}
    for result in results.values():
        emit(result.event(time.time()))
    return results


def _of_fault(host: str, fault: KubewrightError) -> HostResult:
    return HostResult(host, "unreachable" if isinstance(fault, Unreachable) else "failed",
                      message=fault.message.removeprefix(f"{host}: "), said="\n".join(fault.details))


def apply_batch(session: Session, step: str, changes: Changes, carry: Carry = by_ansible, *,
                seconds: int = bundle.STEP_TIMEOUT) -> None:
    """Write the bundles, let them be carried, and raise one error that holds every host's fault.

    Each host has `seconds` for its step.

    The bundles hold secrets: they are removed as soon as the hosts have answered.
    """
    step = _of_this_pass(session, step)
    directory = session.run.directory / rundir.BUNDLES / step
    step_id = f"{session.run.id}.{step}"
    session.run.written |= set(changes)
    session.target.proved.clear()
    try:
        bundle.write_bundles(directory, changes, session.target.secrets.resolve, mint(session), lambda host: step_id,
                             timeout=seconds, origin=session.run.origin, epoch=session.run.epoch)
        session.run.in_flight |= {(host, step_id) for host in changes}
        results = carried(session, list(changes), lambda hosts: carry(
            session, directory, hosts, _answers(session, step, {h: changes[h] for h in hosts})))
        telling.of_results(session, step, changes, results)
        _note_applied(session, changes, results)
        if any(c.kind == Certificate.kind for of_host in changes.values() for c in of_host):
            session.access.forget_credentials()        # what let us in until now may be among them
        raise_faults(session, results)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def program(session: Session, host: str, phase: PhaseName, why: str, argv: Sequence[str], seconds: int, path: str,
            ) -> Change:
    """Return the change that runs a program of the host itself, as it is there now; absent there: `expect` says so."""
    item = Program(path=path, phase=phase, argv=tuple(argv), seconds=seconds)
    seen = session.hosts.on(host).observe([item]).state(item.kind, item.path)
    return Change(host, phase, item.kind, item.path, "run", why, seen, "exit 0", item)


def _of_this_pass(session: Session, step: str) -> str:
    """Return a step's name in a run that goes over its phases once more: hosts do one of the same name only once."""
    phase, _, rest = step.partition(".")
    return step if session.run.passes < 2 else f"{phase}.{session.run.passes}.{rest}"


def _note_applied(session: Session, changes: Changes, results: Mapping[str, HostResult]) -> None:
    """Note what need not be made any more in this run, whichever phase it is of.

    A unit that was only stopped and started with what it had still waits for its own change.
    """
    for host, result in results.items():
        if result.ok:
            session.target.done |= {(c.host, c.kind, c.path) for c in changes[host]
                                if c.action != "stop" and not (isinstance(c.item, Unit) and c.item.listed)}


def _answers(session: Session, step: str, changes: Changes) -> Emit:
    """Return what takes the hosts' outcomes of a step: they are told with its name, and nothing is in flight there."""
    tell = telling.begun(session, step.partition(".")[0], changes, step)

    def take(event: Event) -> None:
        if event.type == "host-done":
            session.run.in_flight.discard((event.host, f"{session.run.id}.{step}"))
        tell(event)

    return take


def open_secrets(session: Session) -> None:
    """Open every secret that the plan's changes are made with, before the first of them is made.

    So a key of ours that opens none is told while nothing is half done. An inventory without secrets will make them,
    and it is proved that they could be opened again.
    """
    plan = session.the_plan
    items = [c.item for c in plan.changes] + [o.object.certificate for o in plan.objects if o.object]
    cas = {item.ca for item in items if isinstance(item, Certificate)}
    names = {item.secret.name for item in items if isinstance(item, File) and item.secret}
    if any(o.phase == "access" for o in plan.objects):
        cas.add("cluster")      # for the certificate that lets us in before anybody is
    if not session.target.secrets.exists:
        session.target.secrets.prove()
        return
    try:
        for ca in sorted(cas):
            session.target.secrets.ca(ca)
        for name in sorted(names):
            session.target.secrets.resolve(name)
    except KubewrightError as fault:
        fault.details = (*fault.details, "nothing was changed")
        raise


def mint(session: Session) -> bundle.Mint:
    """Return what issues the certificates of a batch, with this inventory's CAs."""
    def issue(item: Certificate) -> tuple[bytes, bytes]:
        pair = pki.issue(item, session.target.secrets.ca(item.ca))
        return pair.certificate, pair.key

    return issue


def raise_faults(session: Session, results: Mapping[str, HostResult]) -> None:
    """Raise one error that holds every host's fault, unless the run may go on without those hosts."""
    faults = {host: fault for host, result in results.items() if (fault := result.fault())}
    units = {host: results[host].failed_units[0] for host in faults if results[host].failed_units}
    words = session.hosts.map(lambda one: last_words.of_unit(one, units[one.name]), units, patient=False)
    for host, lines in words.items():
        faults[host].details += () if isinstance(lines, KubewrightError) else lines
    if faults and not degraded.give_up(session, faults):
        raise next(iter(faults.values())) if len(faults) == 1 else gather(faults, total=len(results))
