"""What one more worker costs does not grow with the hosts that are there: in questions, in bytes, and in seconds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioner.converge import runner
from tests.fakes.haproxy import FakeBalancer
from tests.fakes.hosts import FakeHost, FakeOne
from tests.fakes.session import World, instant
from tests.unit.compile.compile_fixture import facts_of
from tests.unit.orchestrate.plan.test_only import NEW, ask_for

ASKED = ("observe", "own", "fence", "store", "inspect", "probe", "ask", "read", "lock", "note")
SAME = 0.2          # what is promised: within a fifth
# Seconds of an `up` on nodes that changes nothing (benchmarks/results/up.json); one that adds a worker takes longer.
LEAST = 3.4
LINE = 100          # bytes of a host without roles in the record of what was applied, on each control plane


@dataclass
class Cost:
    """What a run took: questions by host, bytes that were handed to hosts as changes, seconds of this processor."""

    calls: Counter[str]
    bytes: Counter[str]
    seconds: float = 0.0


def cost_beside(spare: int, world: World, patch: pytest.MonkeyPatch) -> Cost:
    """Add w3 to the cluster beside so many hosts that are only prepared, and return what that took."""
    ask_for(world, **{f"s{n}": {"address": f"10.77.0.{100 + n}", "roles": []} for n in range(spare)})
    for name, seen in facts_of(world.inventory.cluster).items():
        if name not in world.hosts.hosts:
            world.hosts.hosts[name] = FakeHost(name, seen, {("swap", "swap"): "off"})
            world.hosts.balancers[name] = FakeBalancer(world.hosts.serves)
    world.perform()                     # they are prepared, and the record of what was applied names them
    ask_for(world, w3={"address": "10.77.0.23", "roles": ["worker"]})
    world.hosts.hosts["w3"] = FakeHost("w3", facts_of(world.inventory.cluster)["w3"], {("swap", "swap"): "off"})
    world.hosts.balancers["w3"] = FakeBalancer(world.hosts.serves)
    cost = Cost(Counter(), Counter())
    with patch.context() as counted:
        for name in ASKED:
            counted.setattr(FakeOne, name, _counted(getattr(FakeOne, name), cost))
        real = world.hosts.apply

        def apply(inventory: object, directory: Path, hosts: Any, **rest: Any) -> Any:
            cost.bytes.update({host: (directory / f"{host}.json").stat().st_size for host in hosts})
            return real(inventory, directory, hosts, **rest)

        counted.setattr(runner, "apply", apply)
        began = time.process_time()
        world.perform(NEW)
        cost.seconds = time.process_time() - began
    return cost


def _counted(real: Callable[..., Any], cost: Cost) -> Callable[..., Any]:
    def call(one: FakeOne, *args: Any, **rest: Any) -> Any:
        cost.calls[one.name] += 1
        return real(one, *args, **rest)
    return call


def test_a_worker_more_costs_the_same_beside_5_and_beside_100_hosts_that_are_only_prepared(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    few: list[Cost] = []
    many: list[Cost] = []
    for number in range(3):
        for spare, costs in ((5, few), (100, many)):
            directory = tmp_path / f"{spare}-{number}"
            directory.mkdir()
            world = World.make(directory, monkeypatch).build(monkeypatch)
            costs.append(cost_beside(spare, world, monkeypatch))
    assert set(many[0].calls) == {"cp1", "cp2", "cp3", "w3"}, "nobody else is asked anything"
    assert many[0].calls == few[0].calls
    assert many[0].bytes["w3"] <= (1 + SAME) * few[0].bytes["w3"]
    assert many[0].bytes.total() - few[0].bytes.total() <= 3 * 95 * LINE, "the record alone names all hosts"
    assert min(c.seconds for c in many) - min(c.seconds for c in few) <= SAME * LEAST
