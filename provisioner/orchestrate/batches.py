"""How many hosts at a time: decided from the changes alone, never while acting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provisioner.model.plan import Change

# Phases whose restarts take capacity away; the others write files that nothing reads until a later restart.
INTERRUPTING = frozenset({"runtime", "etcd", "load-balancer", "control-plane", "controllers", "node", "network"})


def batches(phase: str, changes: Mapping[str, Sequence[Change]], *, live: bool) -> list[tuple[str, ...]]:
    """Return the hosts of a phase in batches, each gated before the next.

    A first start takes nothing away, so all hosts start together (etcd's first quorum even needs that). On a live
    cluster hosts where a running unit is restarted or reloaded go one at a time, after all others.
    """
    hosts = tuple(changes)
    if not hosts:
        return []
    if not live or phase not in INTERRUPTING:
        return [hosts]
    disturbed = tuple(h for h in hosts if interrupts(changes[h]))
    calm = tuple(h for h in hosts if h not in disturbed)
    return ([calm] if calm else []) + [(h,) for h in disturbed]


def interrupts(changes: Sequence[Change]) -> bool:
    """Say whether one host's changes take away something that serves now.

    A unit that is still activating (it may exit again and again) serves nobody: such a host is repaired first.
    """
    return any(c.action in ("restart", "reload") and not c.expect.startswith("activating ") for c in changes)
