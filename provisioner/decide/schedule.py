"""What a plan does to what runs, phase by phase: from the batches that `up` goes by, so it cannot say otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from provisioner.decide.batches import batches
from provisioner.model.phases import PHASES
from provisioner.model.plan import Act, Change, Plan, Stage

_ACTS = ("restart", "reload", "start")
_ETCD, _SERVERS = "etcd", "control-plane"


def steps(plan: Plan, workers: Collection[str] = (), limit: int = 1) -> tuple[Stage, ...]:
    """Return the phases that have work, in their order, each with its hosts in the turns in which they go.

    Who serves nobody, or leads, is asked only when a phase begins, so within a phase the order may still change.
    """
    together = _with_their_member(plan)
    found = (_step(plan, phase, _changes(plan, phase, together), workers, limit) for phase in PHASES)
    return tuple(step for step in found if step.changes or step.objects)


def _step(
    plan: Plan, phase: str, changes: Mapping[str, Sequence[Change]], workers: Collection[str], limit: int,
) -> Stage:
    return Stage(phase, tuple(batches(phase, changes, live=not plan.bootstrap, workers=workers, limit=limit)),
                changes=sum(len(of_host) for of_host in changes.values()),
                objects=sum(o.phase == phase for o in plan.objects), acts=_acts(changes))


def _with_their_member(plan: Plan) -> frozenset[str]:
    """Return the hosts whose API server is changed in the phase of their etcd member, with which it restarts."""
    if plan.bootstrap:
        return frozenset()
    members, servers = (
        {host for host, changes in plan.of(phase).items() if any(c.path == unit and c.action == "restart"
                                                                 for c in changes)}
        for phase, unit in ((_ETCD, "etcd.service"), (_SERVERS, "kube-apiserver.service")))
    return frozenset(members & servers)


def _changes(plan: Plan, phase: str, together: Collection[str]) -> Mapping[str, Sequence[Change]]:
    """Return a phase's changes by host as `up` makes them: those of an API server with those of its member."""
    own, servers = plan.of(phase), plan.of(_SERVERS)
    if phase == _ETCD:
        return {host: (*of_host, *(servers[host] if host in together else ())) for host, of_host in own.items()}
    return {host: of_host for host, of_host in own.items() if phase != _SERVERS or host not in together}


def _acts(changes: Mapping[str, Sequence[Change]]) -> tuple[Act, ...]:
    hosts: dict[tuple[str, str], list[str]] = {}
    for host, of_host in changes.items():
        for change in of_host:
            if change.kind == "unit" and change.action in _ACTS:
                hosts.setdefault((change.action, change.path), []).append(host)
    return tuple(Act(action, unit, tuple(where)) for (action, unit), where in hosts.items())
