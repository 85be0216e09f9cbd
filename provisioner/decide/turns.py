"""A host's turn: whose changes are made there together, in which order, and what is held meanwhile. From values alone.

A unit that cannot serve without another of its host (`down_with`) goes down and up with it: its changes are made in the
turn of the other, so it restarts once. That is all that is known here of members and API servers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from provisioner.decide.batches import NOTHING_KNOWN, TAKES_AWAY, Standing, batches, interrupts
from provisioner.model.artifact import Stored
from provisioner.model.desired import Unit
from provisioner.model.guards import LEADS_ELSEWHERE, OTHERS_BALANCE, OUT_OF_SERVICE
from provisioner.model.observed import ABSENT
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Change, Plan, Turn

# What is held while a unit of a live cluster stops serving; entered in this order.
GUARDS: Mapping[str, str] = {
    "kube-apiserver.service": OUT_OF_SERVICE,
    "etcd.service": LEADS_ELSEWHERE,
    "haproxy.service": OTHERS_BALANCE,
    "keepalived.service": OTHERS_BALANCE,
}

Changes = Mapping[str, Sequence[Change]]
StateOf = Callable[[str, str], str]
"""(host, unit) -> the unit's state as it was observed."""


def joined(plan: Plan) -> Mapping[tuple[str, PhaseName], PhaseName]:
    """Return (host, phase) of the changes that are made in another phase's turn, each with that phase.

    Where the other unit changes its minor and this one has files to change as well, each has a turn of its own: data
    that a later minor has written may bar the way back of the one, and must not bar that of the other.
    """
    found: dict[tuple[str, PhaseName], PhaseName] = {}
    for host, changes in ({} if plan.bootstrap else plan.by_host).items():
        for unit in dependents(plan, host, changes):
            leader = plan.desired.hosts[host].find("unit", unit.down_with)
            own = [c for c in changes if c.phase == unit.phase]
            if leader and own and not (_moves_minor(changes, leader.phase) and _has_files(own)):
                found[host, unit.phase] = leader.phase
    return found


def dependents(plan: Plan, host: str, changes: Iterable[Change]) -> tuple[Unit, ...]:
    """Return the units that go down and up with a unit which `changes` restart; those that are not there yet do not."""
    restarted = {c.path for c in changes if c.kind == Unit.kind and c.action == "restart" and interrupts([c])}
    new = {c.path for c in plan.by_host.get(host, ()) if c.kind == Unit.kind and c.expect == ABSENT}
    return tuple(i for i in plan.desired.hosts[host].items
                 if isinstance(i, Unit) and i.down_with in restarted and i.path not in new)


def _moves_minor(changes: Iterable[Change], phase: PhaseName) -> bool:
    for change in changes:
        was, will = Stored.of_link(change.expect), Stored.of_link(change.want)
        if change.phase == phase and was and will and was.minor != will.minor:
            return True
    return False


def _has_files(changes: Iterable[Change]) -> bool:
    return any(c.kind != Unit.kind for c in changes)


def of_phase(plan: Plan, phase: PhaseName) -> Changes:
    """Return a phase's changes by host as its turns make them: with those of other phases that are made there."""
    together = joined(plan)
    own = {host: of_host for host, of_host in plan.of(phase).items() if (host, phase) not in together}
    for (host, other), leader in together.items():
        if leader == phase and host in own:
            own[host] = (*own[host], *plan.of(other)[host])
    return own


def turns(
    plan: Plan, phase: PhaseName, changes: Changes, *, workers: Collection[str] = (), limit: int = 1,
    standing: Standing = NOTHING_KNOWN,
) -> tuple[Turn, ...]:
    """Return the turns in which a phase's `changes` are made, in their order; each waits for the proof of the last.

    Etcd members that join go one at a time, after all that are there. Hosts that serve nobody even together
    (`standing`) take nothing away: nothing is held for them, and what goes down with them has its own turn later.
    """
    together = joined(plan)
    made = []
    new = [host for host in plan.joining if phase == "etcd" and host in changes]
    changes = {host: of_host for host, of_host in changes.items() if host not in new}
    for hosts in batches(phase, changes, live=not plan.bootstrap, workers=workers, limit=limit, standing=standing):
        stops = not plan.bootstrap and any(interrupts(changes[h]) and h not in standing.down for h in hosts)
        others = [p for (host, p), leader in together.items() if leader == phase and host in hosts] if stops else []
        guards = _guards(plan, hosts, changes) if stops else ()
        made.append(Turn(hosts, tuple(dict.fromkeys([phase, *others])), guards))
    return (*made, *(Turn((host,), (phase,)) for host in new))


def _guards(plan: Plan, hosts: Iterable[str], changes: Changes) -> tuple[str, ...]:
    """Return what is held while these hosts change: for each unit that stops, and for what goes down with it."""
    down: set[str] = set()
    for host in hosts:
        down |= {c.path for c in changes[host] if c.kind == Unit.kind and c.action in TAKES_AWAY}
        down |= {u.path for u in dependents(plan, host, changes[host])}
    return tuple(dict.fromkeys(guard for unit, guard in GUARDS.items() if unit in down))


def in_order(plan: Plan, turn: Turn, host: str, own: Sequence[Change], state_of: StateOf) -> tuple[Change, ...]:
    """Return a host's changes of a turn as one step makes them: what goes down with a unit is stopped before, and
    started after all else.

    `own` are those of the turn's first phase. One step on the host holds them all and outlives us, so a run that is
    killed leaves nothing stopped. A unit whose own changes have another turn is started with what it had.
    """
    if not turn.guards:
        return tuple(own)
    planned = {phase: plan.of(phase).get(host, ()) for phase in turn.phases[1:]}
    with_it = [u for u in dependents(plan, host, own) if state_of(host, u.path) != ABSENT]
    paths = {u.path for u in with_it}
    files = [c for of_phase in planned.values() for c in of_phase if c.path not in paths]
    stops = [_act(host, u, "stop", planned.get(u.phase), state_of) for u in with_it]
    starts = [_act(host, u, "start", planned.get(u.phase), state_of) for u in with_it]
    return (*stops, *own, *files, *starts)


def _act(host: str, unit: Unit, action: str, planned: Sequence[Change] | None, state_of: StateOf) -> Change:
    reason = next((c.reason for c in planned or () if c.path == unit.path), f"{unit.down_with} restarts")
    item = unit if planned is not None else replace(unit, listed=True)
    return Change(host=host, phase=unit.phase, kind=unit.kind, path=unit.path, action=action, item=item,
                  reason=reason, expect=state_of(host, unit.path), want=unit.want())
