"""Drain Nodes one after the other, on paper: what would hold, who would be away, and whether the rest has room.

What left a Node stays where it was placed, and a Node takes Pods again before the next begins, as in a roll. Budgets
are judged as they stand now: how long a replacement takes to be Ready is not known here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from provisioner.decide import placing, room
from provisioner.decide.draining import judge, owner_of
from provisioner.model.draining import (
    ENDS,
    MOVES,
    Body,
    Drain,
    Placed,
    Rehearsed,
    controller_of,
    has_ended,
)


def rehearse(
    placed: Placed, turns: Sequence[Sequence[str]], force: Collection[str] = (), ours: Collection[str] = (),
) -> tuple[Rehearsed, ...]:
    """Return what each Node's drain would mean, in the order of `turns`; the hosts of a turn are drained together.

    A host without a Node is left out. `ours` are the Nodes that this tool has cordoned itself.
    """
    roll = _Roll(placed)
    found: list[Rehearsed] = []
    for turn in turns:
        hosts = [host for host in turn if host in placed.node]
        drains = [judge(roll.placed, host, force, with_it=hosts, ours=host in ours) for host in hosts]
        single = {drain.host: tuple(_single(drain, roll.placed)) for drain in drains}
        no_room = roll.move(drains)
        found += [Rehearsed(d, single[d.host], tuple(no_room[d.host])) for d in drains]
    return tuple(found)


def _single(drain: Drain, placed: Placed) -> Iterator[str]:
    """Yield whose only Pod goes: it is away until another is Ready, whatever a budget says."""
    pods = {str(pod["metadata"]["uid"]): pod for pod in placed.on.get(drain.host, ())}
    for fate in drain.leaving:
        owner = controller_of(pods[fate.uid])
        if owner and owner["kind"] != "Job" and placed.siblings.get(str(owner["uid"]), 0) == 1:
            yield f"{owner_of(pods[fate.uid])} in {fate.namespace}"


class _Roll:
    """Where the Pods are after the turns so far, and what each Node has left."""

    def __init__(self, placed: Placed) -> None:
        self.placed = placed
        self._asked = {str(p["metadata"]["uid"]): room.requests(p) for p in placed.pods if not has_ended(p)}
        self._left = {name: room.without(room.allocatable(node), room.together(
            self._asked.get(str(p["metadata"]["uid"]), {}) for p in placed.on.get(name, ())))
            for name, node in placed.node.items()}

    def move(self, drains: Sequence[Drain]) -> Mapping[str, list[str]]:
        """Place what leaves these Nodes elsewhere, and return by Node those Pods that no other has room for.

        The largest go first, each to where most is left: as the scheduler spreads them, and the best chance for the
        rest. What nobody makes again is gone; what waits for its Node is there again when that takes Pods.
        """
        away = {drain.host for drain in drains}
        pods = {str(p["metadata"]["uid"]): p for host in away for p in self.placed.on.get(host, ())}
        no_room: dict[str, list[str]] = {host: [] for host in away}
        target: dict[str, str] = {}
        moving = [(fate, drain.host) for drain in drains for fate in drain.leaving if fate.fate == MOVES]
        for fate, host in sorted(moving, key=lambda item: self._size(item[0].uid), reverse=True):
            fit, _ = placing.others_for(pods[fate.uid], away, self.placed)
            asked = self._asked[fate.uid]
            target[fate.uid] = self._roomiest(asked, fit) or host
            if target[fate.uid] == host:
                no_room[host].append(f"{fate.full_name}: {self._too_little(asked, fit)}")
            self._take(host, asked, back=True)
            self._take(target[fate.uid], asked)
        gone = {fate.uid: drain.host for drain in drains for fate in drain.leaving if fate.fate == ENDS}
        for uid, host in gone.items():
            self._take(host, self._asked[uid], back=True)
        self.placed = self.placed.with_pods([
            _on(pod, target[uid]) if uid in target else pod for pod in self.placed.pods
            if (uid := str(pod["metadata"]["uid"])) not in gone])
        return no_room

    def _take(self, host: str, asked: room.Amount, *, back: bool = False) -> None:
        left = self._left[host]
        self._left[host] = room.together([left, asked]) if back else room.without(left, asked)

    def _size(self, uid: str) -> tuple[int, int]:
        return self._asked[uid].get(room.CPU, 0), self._asked[uid].get(room.MEMORY, 0)

    def _roomiest(self, asked: room.Amount, fit: Sequence[str]) -> str:
        """Return the Node that has room and most left of what is scarce, "" for none."""
        fits = [name for name in fit if not room.lacking(asked, self._left[name])]
        return max(fits, key=lambda name: (self._left[name].get(room.CPU, 0), self._left[name].get(room.MEMORY, 0)),
                   default="")

    def _too_little(self, asked: room.Amount, fit: Sequence[str]) -> str:
        short = dict.fromkeys(resource for name in fit for resource in room.lacking(asked, self._left[name]))
        asks = ", ".join(f"{room.said(name, asked[name])} {name}" for name in short)
        return f"no other node has room: it asks for {asks}"


def _on(pod: Body, host: str) -> Body:
    return {**pod, "spec": {**pod["spec"], "nodeName": host}}
