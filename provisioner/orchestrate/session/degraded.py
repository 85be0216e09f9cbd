"""Go on without a host: decided by what it is, what failed, and how many there are already.

A worker that cannot be changed or reached is given up, and the others go on; at the end the run fails all the same,
with every host that was given up. A control plane or etcd host stops the run: the next one must not be touched. On a
live cluster a failed proof stops it too, whatever the host: it speaks against the change, not against the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provisioner.errors import KubewrightError, LockHeld, PlanStale, RefusedForSafety, Unreachable, UsageFault
from provisioner.orchestrate.session.session import Session
from provisioner.transport.pool import gather


def leave_out(session: Session, hosts: Sequence[str]) -> None:
    """Do without these hosts from the start, as was asked; only workers can be missed."""
    unknown = [h for h in hosts if h not in session.cluster.hosts]
    if unknown:
        raise UsageFault(f"--without {', '.join(unknown)}: not in the inventory", hint="kubewright status")
    needed = [h for h in hosts if h not in session.workers]
    if needed:
        raise RefusedForSafety(f"{', '.join(needed)}: left out: only hosts that are workers and nothing else can be",
                               code="host-needed", hint="kubewright status")
    session.run.unreachable |= {h: Unreachable(f"{h}: left out, as asked") for h in hosts}


def without(session: Session, hosts: Sequence[str]) -> str:
    """Return the command that goes on without these hosts, "" where one of them cannot be missed."""
    missable = set(hosts) <= set(session.workers)
    command = session.run.go_on if _is_upgrade(session) else "kubewright up"
    return " ".join([command, *(f"--without {host}" for host in hosts)]) if missable else ""


def _is_upgrade(session: Session) -> bool:
    """Say whether the run is any kind of upgrade, which only its own command goes on with; all else `up` does."""
    return session.run.origin.verb.startswith("upgrade")


def give_up(session: Session, faults: Mapping[str, KubewrightError], *, proof: bool = False) -> bool:
    """Go on without the hosts of `faults` where that is safe, tell it, and say whether it is; else nothing is done."""
    if not session.run.doing:       # a verb that only looks must see what there is
        return False
    live = not session.the_plan.bootstrap
    limit = session.at_once if live else len(session.workers)
    if not all(_may(session, host, fault, proof=proof and live) for host, fault in faults.items()):
        return False
    if len(session.run.failed.keys() | faults.keys()) > limit:
        return False
    session.run.unreachable |= faults
    session.run.failed |= faults
    for host, fault in faults.items():
        session.tell("set-aside", host=host, status="failed", message=f"{fault.message}; the others go on without it")
    return True


def _may(session: Session, host: str, fault: KubewrightError, *, proof: bool) -> bool:
    if host not in session.workers or host in session.run.as_they_run or isinstance(fault, (PlanStale, LockHeld)):
        return False
    return isinstance(fault, Unreachable) or not proof


def raise_failed(session: Session) -> None:
    """Raise one error with every host that was given up."""
    if not session.run.failed:
        return
    fault = next(iter(session.run.failed.values()))
    if len(session.run.failed) > 1:
        fault = gather(session.run.failed, total=len(session.cluster.hosts))
    others = len(session.cluster.hosts) - len(session.unreachable)
    cure = [f"try: {fault.hint}"] if fault.hint else []
    fault.details = (*fault.details, *cure, f"the run went on without: the other {others} hosts are done")
    retries = "; ".join(f"kubewright retry --host {host}" for host in session.run.failed)
    fault.hint = session.run.go_on if _is_upgrade(session) else retries
    raise fault
