"""Drain Nodes one after the other, on paper: what would hold, who would be away, and whether the rest has room.

What left a Node stays where it was placed, and a Node takes Pods again before the next begins, as in a roll. Budgets
are judged as they stand now: how long a replacement takes to be Ready is not known here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from provisioner.decide import placing, room
from provisioner.decide.draining import judge, owner_of
from provisioner.model.draining import ENDS, MOVES, Body, Drain, Placed, Rehearsed, controller_of, is_ready

_SHOWN = (room.CPU, room.MEMORY, room.PODS)


def rehearse(
    placed: Placed, turns: Sequence[Sequence[str]], force: Collection[str] = (), ours: Collection[str] = (),
) -> tuple[Rehearsed, ...]:
    """Return what each Node's drain would mean, in the order of `turns`; the hosts of a turn are drained together.

    A host without a Node is left out. `ours` are the Nodes that this tool has cordoned itself.
    """
    found: list[Rehearsed] = []
    for turn in turns:
        hosts = [host for host in turn if host in placed.node]
        drains = [judge(placed, host, force, with_it=hosts, ours=host in ours) for host in hosts]
        single = {drain.host: tuple(_single(drain, placed)) for drain in drains}
        placed, no_room = _moved(placed, drains)
        left = _left(placed, hosts)
        found += [Rehearsed(d, single[d.host], tuple(no_room[d.host]), left) for d in drains]
    return tuple(found)


def _single(drain: Drain, placed: Placed) -> Iterator[str]:
    """Yield whose only Pod goes: it is away until another is Ready, whatever a budget says."""
    pods = _by_uid(placed)
    for fate in drain.leaving:
        owner = controller_of(pods[fate.uid])
        if owner and owner["kind"] != "Job" and placed.siblings.get(str(owner["uid"]), 0) == 1:
            yield f"{owner_of(pods[fate.uid])} in {fate.namespace}"


def _moved(placed: Placed, drains: Sequence[Drain]) -> tuple[Placed, Mapping[str, list[str]]]:
    """Return the Pods as they are placed after these drains, and by Node those that no other has room for.

    The largest go first, each to where most is left: as the scheduler spreads them, and the best chance for the rest.
    What nobody makes again is gone; what waits for its Node is there again when that takes Pods.
    """
    pods, away = _by_uid(placed), {drain.host for drain in drains}
    no_room: dict[str, list[str]] = {host: [] for host in away}
    left = {name: room.free(node, placed.on.get(name, ())) for name, node in placed.node.items() if name not in away}
    target: dict[str, str] = {}
    moving = [(fate, drain.host) for drain in drains for fate in drain.leaving if fate.fate == MOVES]
    for fate, host in sorted(moving, key=lambda item: _size(pods[item[0].uid]), reverse=True):
        fit, _ = placing.others_for(pods[fate.uid], away, placed)
        asked = room.requests(pods[fate.uid])
        where = _roomiest(asked, fit, left)
        if where:
            target[fate.uid] = where
            left[where] = room.without(left[where], asked)
        else:
            no_room[host].append(f"{fate.full_name}: {_too_little(asked, fit, left)}")
    gone = {fate.uid for drain in drains for fate in drain.leaving if fate.fate == ENDS}
    return placed.with_pods([_on(pod, target[uid]) if uid in target else pod
                             for uid, pod in pods.items() if uid not in gone]), no_room


def _roomiest(asked: room.Amount, fit: Sequence[str], left: Mapping[str, room.Amount]) -> str:
    """Return the Node that has room and most left of what is scarce, "" for none."""
    fits = [name for name in fit if not room.lacking(asked, left[name])]
    return max(fits, key=lambda name: (left[name].get(room.CPU, 0), left[name].get(room.MEMORY, 0)), default="")


def _too_little(asked: room.Amount, fit: Sequence[str], left: Mapping[str, room.Amount]) -> str:
    short = dict.fromkeys(resource for name in fit for resource in room.lacking(asked, left[name]))
    asks = ", ".join(f"{room.said(name, asked[name])} {name}" for name in short)
    return f"no other node has room: it asks for {asks}"


def _size(pod: Body) -> tuple[float, float]:
    asked = room.requests(pod)
    return float(asked.get(room.CPU, 0)), float(asked.get(room.MEMORY, 0))


def _on(pod: Body, host: str) -> Body:
    return {**pod, "spec": {**pod["spec"], "nodeName": host}}


def _left(placed: Placed, away: Collection[str]) -> Mapping[str, str]:
    """Return what the Nodes that take Pods have left together while these are away, and of how much."""
    others = {name: node for name, node in placed.node.items()
              if name not in away and not node.get("spec", {}).get("unschedulable") and is_ready(node)}
    total = room.together(room.allocatable(node) for node in others.values())
    left = room.together(room.free(node, placed.on.get(name, ())) for name, node in others.items())
    return {name: f"{room.said(name, left[name])} of {room.said(name, total[name])}"
            for name in _SHOWN if name in total}


def _by_uid(placed: Placed) -> dict[str, Body]:
    return {str(pod["metadata"]["uid"]): pod for pod in placed.pods}
