"""Find a step again whose connection was lost: what is tried again is the looking, never the doing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from provisioner.converge.results import HostResult
from provisioner.errors import GateFailed, KubewrightError
from provisioner.orchestrate.gates import proofs
from provisioner.orchestrate.session.session import Session

TIMES = 2           # times that a step is attached to after its connection was lost
AGAIN = 75.0        # seconds for a host that was lost to answer again: a minute's cut, and a bit
Carry = Callable[[list[str]], dict[str, HostResult]]


def carried(session: Session, hosts: list[str], carry: Carry) -> dict[str, HostResult]:
    """Carry a step to all hosts, and again to those whose connection was lost, once they answer.

    A step has one id: the host attaches to the one that runs, or answers from its result, so nothing is done twice.
    """
    results = carry(hosts)
    for _ in range(TIMES):
        lost = [host for host, result in results.items() if result.status == "unreachable"]
        found = _answering_again(session, lost) if lost else []
        if not found:
            break
        results |= carry(found)
    return results


def _answering_again(session: Session, hosts: Sequence[str]) -> list[str]:
    """Wait a while for hosts that were lost, and return those that answer."""
    answering: list[str] = []

    def look() -> str:
        seen = session.hosts.map(lambda one: one.steps(session.run.id), hosts, patient=False)
        silent = [fault.message for fault in seen.values() if isinstance(fault, KubewrightError)]
        answering[:] = [host for host, answer in seen.items() if not isinstance(answer, KubewrightError)]
        return "; ".join(silent)

    with suppress(GateFailed):
        proofs.wait_until(session, "connection", look, AGAIN)
    return answering
