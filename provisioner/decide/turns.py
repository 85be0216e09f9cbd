"""A host's turn: whose changes are made there together, in which order, and what is held meanwhile. From values alone.

A unit that cannot serve without another of its host (`down_with`) goes down and up with it: its changes are made in the
turn of the other, so it restarts once. That is all that is known here of members and API servers.

Where a kubelet gets another version, all that its Pods run on changes in its turn; where it gets another minor, the
Node is drained meanwhile, as the policy of version skew asks: https://kubernetes.io/releases/version-skew-policy/
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from provisioner.decide.batches import NOTHING_KNOWN, TAKES_AWAY, Standing, batches, interrupts
from provisioner.model.artifact import Stored
from provisioner.model.desired import Unit
from provisioner.model.guards import DRAINED, LEADS_ELSEWHERE, OTHERS_BALANCE, OUT_OF_SERVICE, VIP_LEAVES
from provisioner.model.observed import ABSENT
from provisioner.model.phases import PHASES, PhaseName
from provisioner.model.plan import Change, Plan, Turn

# What is held while a unit of a live cluster stops serving; entered in this order.
GUARDS: Mapping[str, str] = {
    "kube-apiserver.service": OUT_OF_SERVICE,
    "etcd.service": LEADS_ELSEWHERE,
    "haproxy.service": OTHERS_BALANCE,
    "keepalived.service": OTHERS_BALANCE,
}
# And while one goes for good.
FAREWELLS: Mapping[str, str] = {"keepalived.service": VIP_LEAVES}

NODE: PhaseName = "node"
BESIDE_NODE: tuple[PhaseName, ...] = ("runtime", "network")     # what Pods run on too, in phases of its own
KUBELET, KUBELET_UNIT = "/usr/local/bin/kubelet", "kubelet.service"

Changes = Mapping[str, Sequence[Change]]
T = TypeVar("T")
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
        if _moves_kubelet(changes):
            found |= {(host, phase): NODE for phase in BESIDE_NODE if any(c.phase == phase for c in changes)}
    return found


def drained(plan: Plan) -> tuple[str, ...]:
    """Return the hosts whose kubelet gets another minor, or one that nobody knows any more: they are drained for it."""
    return tuple(host for host, changes in ({} if plan.bootstrap else plan.by_host).items()
                 if _moves_kubelet(changes) and _moves_minor(changes, NODE, of=KUBELET, unknown=True))


def arranged(plan: Plan, phases: Sequence[T], name: Callable[[T], str]) -> tuple[T, ...]:
    """Return phases in the order in which a run of this plan walks them.

    A phase whose changes are made in a later one's turn comes right behind that: what is left of it then is its proof.
    """
    late = dict.fromkeys(phase for (_, phase), leader in joined(plan).items()
                         if PHASES.index(phase) < PHASES.index(leader))
    made: list[T] = []
    for phase in phases:
        made += [] if name(phase) in late else [phase]
        made += [p for p in phases if name(p) in late] if name(phase) == NODE else []
    return tuple(made) if len(made) == len(phases) else tuple(phases)


def through(until: PhaseName | None) -> tuple[PhaseName, ...]:
    """Return the phases whose changes are made where `until` is the last: of nodes with all that belongs there."""
    last = BESIDE_NODE[-1] if until == NODE else until or PHASES[-1]
    made = PHASES[:PHASES.index(last) + 1]
    return tuple(phase for phase in made if phase not in BESIDE_NODE or NODE in made)


def moves_version(changes: Iterable[Change]) -> bool:
    """Say whether any of these changes lets another version of a program run."""
    links = ((Stored.of_link(c.expect), Stored.of_link(c.want)) for c in changes)
    return any(was and will and was.version != will.version for was, will in links)


def _moves_kubelet(changes: Iterable[Change]) -> bool:
    """Say whether a host's kubelet gets another version, or has one already with which it was never started."""
    return any(moves_version([c]) if c.path == KUBELET else c.path == KUBELET_UNIT and KUBELET in c.causes
               for c in changes)


def dependents(plan: Plan, host: str, changes: Iterable[Change]) -> tuple[Unit, ...]:
    """Return the units that go down and up with a unit which `changes` restart; those that are not there yet do not."""
    restarted = {c.path for c in changes if c.kind == Unit.kind and c.action == "restart" and interrupts([c])}
    new = {c.path for c in plan.by_host.get(host, ()) if c.kind == Unit.kind and c.expect == ABSENT}
    return tuple(i for i in plan.desired.hosts[host].items
                 if isinstance(i, Unit) and i.down_with in restarted and i.path not in new)


def _moves_minor(changes: Iterable[Change], phase: PhaseName, *, of: str = "", unknown: bool = False) -> bool:
    """Say whether a program of a phase gets another minor, `of` one path or of any; without its link it is `unknown`.
    """
    links = [(Stored.of_link(c.expect), Stored.of_link(c.want)) for c in changes
             if c.phase == phase and c.path == (of or c.path)]
    known = [(was, will) for was, will in links if was and will]
    return any(was.minor != will.minor for was, will in known) if known else unknown


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
    together, emptied = joined(plan), drained(plan) if phase == NODE else ()
    made = []
    new = [host for host in plan.joining if phase == "etcd" and host in changes]
    changes = {host: of_host for host, of_host in changes.items() if host not in new}
    for hosts in batches(phase, changes, live=not plan.bootstrap, workers=workers, limit=limit, standing=standing,
                         canary=any(moves_version(c) for c in changes.values())):
        stops = not plan.bootstrap and any(interrupts(changes[h]) and h not in standing.down for h in hosts)
        others = [p for (host, p), leader in together.items() if leader == phase and host in hosts] if stops else []
        guards = _guards(plan, hosts, changes, emptied) if stops else ()
        made.append(Turn(hosts, tuple(dict.fromkeys([phase, *others])), guards))
    return (*made, *(Turn((host,), (phase,)) for host in new))


def _guards(plan: Plan, hosts: Collection[str], changes: Changes, emptied: Collection[str]) -> tuple[str, ...]:
    """Return what is held while these hosts change: for each unit that stops, for what goes down with it, and where
    Nodes are `emptied` for it.
    """
    down: set[str] = set()
    for host in hosts:
        down |= {c.path for c in changes[host] if c.kind == Unit.kind and c.action in TAKES_AWAY}
        down |= {u.path for u in dependents(plan, host, changes[host])}
    gone = {c.path for host in hosts for c in changes[host] if c.kind == Unit.kind and c.action == "remove"}
    held = [DRAINED] if set(hosts) & set(emptied) else []
    return tuple(dict.fromkeys([*held, *(guard for unit, guard in GUARDS.items() if unit in down),
                                *(guard for unit, guard in FAREWELLS.items() if unit in gone)]))


def in_order(plan: Plan, turn: Turn, host: str, own: Sequence[Change], state_of: StateOf) -> tuple[Change, ...]:
    """Return a host's changes of a turn as one step makes them: what goes down with a unit is stopped before, and
    started after all else.

    `own` are those of the turn's first phase; changes of several are made in the order of the phases. One step on the
    host holds them all and outlives us, so a run that is killed leaves nothing stopped. A unit whose own changes have
    another turn is started with what it had.
    """
    if not turn.guards and len(turn.phases) == 1:
        return tuple(own)
    planned = {phase: plan.of(phase).get(host, ()) for phase in turn.phases[1:]}
    with_it = [u for u in dependents(plan, host, own) if state_of(host, u.path) != ABSENT]
    paths = {u.path for u in with_it}
    made = [*own, *(c for of_phase in planned.values() for c in of_phase if c.path not in paths)]
    stops = [_act(host, u, "stop", planned.get(u.phase), state_of) for u in with_it]
    starts = [_act(host, u, "start", planned.get(u.phase), state_of) for u in with_it]
    return (*stops, *sorted(made, key=lambda c: PHASES.index(c.phase)), *starts)


def _act(host: str, unit: Unit, action: str, planned: Sequence[Change] | None, state_of: StateOf) -> Change:
    reason = next((c.reason for c in planned or () if c.path == unit.path), f"{unit.down_with} restarts")
    item = unit if planned is not None else replace(unit, listed=True)
    return Change(host=host, phase=unit.phase, kind=unit.kind, path=unit.path, action=action, item=item,
                  reason=reason, expect=state_of(host, unit.path), want=unit.want())
