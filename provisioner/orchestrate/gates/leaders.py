"""Proof that a controller-manager and a scheduler lead right now: what Pods that leave and come depend on."""

from __future__ import annotations

from provisioner.model.components import ELECTED
from provisioner.operate import health
from provisioner.orchestrate.gates.health import renewals
from provisioner.orchestrate.gates.proofs import wait_until
from provisioner.orchestrate.session.session import Session


def lead(session: Session) -> None:
    """Prove that both are renewing their leases, each seen twice; GateFailed where one is not in time.

    The lease of one that has ended holds on for seconds (15 by default) in which nobody leads. A Pod that is evicted
    then stays behind its Service when it is gone: cluster DNS was so for 7 s, measured in an upgrade whose first Node
    was drained 3 s after the controllers' restart.
    """
    first: dict[str, health.Renewal | None] = {}

    def look() -> str:
        seen = renewals(session.access.kube())
        for name in ELECTED:
            first.setdefault(name, seen.get(name))
        still = [name for name in ELECTED if name not in seen or seen[name] == first[name]]
        return f"{', '.join(still)}: not seen to lead" if still else ""

    wait_until(session, "controllers", look, when="before", proof=f"{' and '.join(ELECTED)} lead")
