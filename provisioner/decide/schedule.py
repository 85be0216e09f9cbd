"""What a plan does to what runs, phase by phase: from the turns that `up` takes, so it cannot say otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from provisioner.decide import os_roll, turns
from provisioner.model.phases import PHASES, PhaseName
from provisioner.model.plan import Act, Change, Plan, Stage

_ACTS = ("restart", "reload", "start", "remove")


def stages(plan: Plan, workers: Collection[str] = (), limit: int = 1) -> tuple[Stage, ...]:
    """Return the phases that have work, in their order, each with its hosts in the turns in which they go.

    Who serves nobody, or leads, is asked only when a phase begins, so within a phase the order may still change.
    """
    if os_roll.is_roll(plan):
        return os_roll.stages(plan, workers, limit)
    found = (_stage(plan, phase, workers, limit) for phase in turns.arranged(plan, PHASES, str))
    return tuple(stage for stage in found if stage.changes or stage.objects)


def _stage(plan: Plan, phase: PhaseName, workers: Collection[str], limit: int) -> Stage:
    changes = turns.of_phase(plan, phase)
    return Stage(phase, turns.turns(plan, phase, changes, workers=workers, limit=limit),
                 changes=sum(len(of_host) for of_host in changes.values()),
                 objects=sum(o.phase == phase for o in plan.objects), acts=_acts(changes))


def _acts(changes: Mapping[str, Sequence[Change]]) -> tuple[Act, ...]:
    hosts: dict[tuple[str, str], list[str]] = {}
    for host, of_host in changes.items():
        for change in of_host:
            if change.kind == "unit" and change.action in _ACTS:
                hosts.setdefault((change.action, change.path), []).append(host)
    return tuple(Act(action, unit, tuple(where)) for (action, unit), where in hosts.items())
