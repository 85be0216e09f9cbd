"""What a plan does to what runs, phase by phase: from the batches that `up` goes by, so it cannot say otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from provisioner.compile.host import PHASES
from provisioner.model.plan import Act, Change, Plan, Step
from provisioner.orchestrate.batches import batches

_ACTS = ("restart", "reload", "start")
_ETCD, _MEMBER, _SERVER = "etcd", "etcd.service", "kube-apiserver.service"


def steps(plan: Plan, workers: Collection[str] = (), limit: int = 1) -> tuple[Step, ...]:
    """Return the phases that have work, in their order, each with its hosts in the turns in which they go.

    Who serves nobody, or leads, is asked only when a phase begins, so within a phase the order may still change.
    """
    paired = _paired(plan)
    found = (_step(plan, phase, workers, limit, paired) for phase in PHASES)
    return tuple(step for step in found if step.changes or step.objects)


def _step(plan: Plan, phase: str, workers: Collection[str], limit: int, paired: Collection[str]) -> Step:
    changes = plan.of(phase)
    return Step(phase, tuple(batches(phase, changes, live=not plan.bootstrap, workers=workers, limit=limit)),
                changes=sum(len(of_host) for of_host in changes.values()),
                objects=sum(o.phase == phase for o in plan.objects), acts=_acts(phase, changes, paired))


def _paired(plan: Plan) -> frozenset[str]:
    """Return the hosts whose API server goes down and up with their etcd member, in the member's phase."""
    if plan.bootstrap:
        return frozenset()
    return frozenset(host for host, changes in plan.of(_ETCD).items() if plan.desired.hosts[host].find("unit", _SERVER)
                     and any(c.path == _MEMBER and c.action == "restart" for c in changes))


def _acts(phase: str, changes: Mapping[str, Sequence[Change]], paired: Collection[str]) -> tuple[Act, ...]:
    hosts: dict[tuple[str, str], list[str]] = {}
    for host, of_host in changes.items():
        for change in of_host:
            if change.kind == "unit" and change.action in _ACTS and not (change.path == _SERVER and host in paired):
                hosts.setdefault((change.action, change.path), []).append(host)
    if phase == _ETCD and paired:
        hosts["restart", _SERVER] = [host for host in changes if host in paired]
    return tuple(Act(action, unit, tuple(where)) for (action, unit), where in hosts.items())
