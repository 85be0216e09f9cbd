"""The way back of a live cluster: a batch whose proof does not come is put back on its hosts, and proved again.

What ran before is kept by the hosts themselves, so going back needs no network, no secret and no plan. It is a step
like any other: it outlives us, and a run that is killed before it leaves the change in place, which the next run finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from provisioner.compile.pki import ETCD_UNIT
from provisioner.decide import way_back
from provisioner.decide.way_back import BACK, Back
from provisioner.errors import GateFailed, KubewrightError
from provisioner.model.phases import is_phase
from provisioner.model.plan import Change
from provisioner.orchestrate.gates import api_servers, etcd_members, last_words, proofs
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import apply
from provisioner.orchestrate.turn.apply import Changes

UPGRADE = "upgrade"
# Nobody knows yet what such a step did or still does.
_UNKNOWN = frozenset({"step-running", "step-canceled"})


def apply_and_prove(session: Session, step: str, changes: Changes, prove: Callable[[], None]) -> None:
    """Apply a batch and prove it; what cannot be proved goes back, on a live cluster, and the run ends: GateFailed.

    In a first start there is nothing to go back to.
    """
    try:
        apply.apply_batch(session, step, changes)
        prove()
    except GateFailed as failed:
        if session.the_plan.bootstrap or failed.code in _UNKNOWN or session.run.as_they_run:
            raise
        raise _gone_back(session, step, changes, prove, failed) from failed


def hold(session: Session, gate: Callable[[Session], None]) -> None:
    """Call the gate of a whole phase; it does not know whose change is to blame, so nothing goes back, and says so."""
    try:
        gate(session)
    except GateFailed as failed:
        if session.plan is not None and not session.plan.bootstrap and not session.run.as_they_run:
            changed = [h.name for h in session.cluster.machines if h.name in session.run.written]
            stays = f"nothing was put back: this asks all hosts together; this run changed {', '.join(changed)}"
            failed.details = (*failed.details, *([stays] if changed else []), proofs.kept_there())
        raise


def step(session: Session, name: str, hosts: Iterable[str]) -> str:
    """Return a step's name: one that goes back says so, and so is no change that a person would go back from."""
    return f"{name}{BACK}" if session.run.as_they_run & set(hosts) else name


def _gone_back(
    session: Session, step: str, changes: Changes, prove: Callable[[], None], failed: GateFailed,
) -> GateFailed:
    """Put the hosts of a batch that do not hold back, and return the error that says all of it."""
    began, go_on = time.monotonic(), session.run.go_on
    blamed = _blamed(session, changes)
    session.tell("waiting", phase=step.partition(".")[0],
                 message=f"{failed.message}; {', '.join(blamed)} goes back to what ran before")
    said = _last_words(session, blamed, failed.details)
    backs = {host: _look(session, host, changes) for host in blamed}
    outcome = _put_back(session, f"{step}{BACK}", {h: b for h, b in backs.items() if b.changes}, prove)
    seconds = time.monotonic() - began
    told = [_told(host, back, outcome, seconds) for host, back in backs.items()]
    for host, line in zip(backs, told, strict=True):
        session.tell("put-back", host=host, phase=step.partition(".")[0], message=line, seconds=seconds,
                     status="ok" if backs[host].changes and not outcome else "failed")
    if session.run.as_they_run:
        # To go on would be to make the same change again.
        session.run.go_on = "kubewright upgrade --plan" if session.run.origin.verb == UPGRADE else "kubewright plan"
    again = _again(session, go_on) if any(back.changes for back in backs.values()) else []
    details = [*failed.details, *said, *told, *_beside(session, step, changes), *again]
    return GateFailed(failed.message, details=details, hint=failed.hint, code=failed.code)


def _again(session: Session, go_on: str) -> list[str]:
    """Say what goes on, and what goes back further."""
    if session.run.origin.verb != UPGRADE:
        return ["`up` would make the same change again"]
    return [f"to go on when its cause is mended: {go_on}",
            "to go back on a host that was changed and proved, as far as its data allows: kubewright rollback HOST"]


def _blamed(session: Session, changes: Changes) -> dict[str, str]:
    """Return the hosts to put back, each with the unit that is to blame: those that do not hold now, else all."""
    phases = {host: list(dict.fromkeys(c.phase for c in of_host)) for host, of_host in changes.items()}
    found = proofs.not_so(session, phases)
    if found and len(changes) > 1:
        return found
    units = {host: [c.path for c in of_host if c.kind == "unit"] for host, of_host in changes.items()}
    return {host: found.get(host, "") or next(iter(units[host]), "") for host in changes}


def _look(session: Session, host: str, changes: Changes) -> Back:
    """Ask a host what it kept, and decide what of it is put back."""
    try:
        rows = session.hosts.on(host).kept()
    except KubewrightError as fault:
        return Back(why_not=fault.message.removeprefix(f"{host}: "))
    return way_back.of_batch(session.run.id, changes[host], rows, session.the_plan.desired.hosts[host],
                             session.observed.get(host), _versions_beside(session, host, changes[host]))


def _versions_beside(session: Session, host: str, changes: Sequence[Change]) -> list[str]:
    """Return the versions that the other etcd members run, where `host`'s own was changed; of the silent ones none."""
    if not any(c.path == ETCD_UNIT for c in changes):
        return []
    return [a.version for a in etcd_members.answering(session, [h for h in session.members if h != host]).values()]


def _put_back(session: Session, step: str, backs: Mapping[str, Back], prove: Callable[[], None]) -> str:
    """Carry what goes back and prove it; return why it could not be proved, or nothing."""
    if not backs:
        return "nothing was put back"
    session.run.as_they_run |= set(backs)
    try:
        apply.apply_batch(session, step, {host: back.changes for host, back in backs.items()})
        prove()
    except KubewrightError as fault:
        return fault.message
    return ""


def _told(host: str, back: Back, outcome: str, seconds: float) -> str:
    stays = f"; stays as it is: {', '.join(back.stay)}" if back.stay else ""
    if not back.changes:
        return f"{host}: not put back: {back.why_not}{stays}"
    paths = ", ".join(back.paths[:3]) + (f" and {len(back.paths) - 3} more" if len(back.paths) > 3 else "")
    units = ", ".join(unit.removesuffix(".service") for unit in back.units)
    proof = f"which is not proved: {outcome}" if outcome else f"its gate is green {seconds:.0f} s after it failed"
    return f"{host}: put back as it was: {paths}; {units} started again, {proof}{stays}"


def _beside(session: Session, step: str, changes: Changes) -> Sequence[str]:
    """Say of the other hosts which are well, and which are not: what a killed run left is in no plan any more."""
    others = [h for h in session.answering(session.cluster.machines) if h not in changes]
    phase = step.partition(".")[0]
    down = proofs.down(session, phase, others) if is_phase(phase) else {}
    told = [f"{host}: not well either, untouched by this turn: {why}; {proofs.kept_there([host])}"
            for host, why in down.items()]
    return (*told, _still_fine(session, [h for h in others if h not in down]))


def _still_fine(session: Session, hosts: Sequence[str]) -> str:
    """Say of hosts which this run did not touch, which it did and proved, and who answers."""
    proved = [h for h in hosts if h in session.run.written]
    untouched = [h for h in hosts if h not in session.run.written]
    serving = api_servers.api_servers_that_serve(session, [h.name for h in session.cluster.control_planes])
    parts = [f"{', '.join(untouched)} not touched by this run" if untouched else "",
             f"{', '.join(proved)} changed and proved" if proved else "",
             f"API servers ready: {', '.join(serving) or 'none'}"]
    return f"still fine: {'; '.join(part for part in parts if part)}"


def _last_words(session: Session, blamed: Mapping[str, str], told: Sequence[str]) -> Sequence[str]:
    """Return what units said last, before they are put back and say other things, unless it is told already."""
    units = {host: unit for host, unit in blamed.items() if unit and last_words.headed(host, unit) not in told}
    words = session.hosts.map(lambda one: last_words.of_unit(one, units[one.name]), units)
    return [line for lines in words.values() if not isinstance(lines, KubewrightError) for line in lines]
