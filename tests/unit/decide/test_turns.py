"""Whose changes go together on a host, in which order, and what is held meanwhile: from cases that are data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.decide import turns
from provisioner.decide.batches import Standing
from provisioner.decide.schedule import stages
from provisioner.model.desired import Desired, HostDesired, Unit
from provisioner.model.guards import DRAINED, LEADS_ELSEWHERE, OUT_OF_SERVICE, WORDS
from provisioner.model.observed import ABSENT
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Change, Plan, Turn
from provisioner.orchestrate.turn import guards

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "turns.yaml").read_text())
MEMBER = Unit(path="etcd.service", phase="etcd")
SERVER = Unit(path="kube-apiserver.service", phase="control-plane", down_with="etcd.service")


def change(host: str, phase: PhaseName, kind: str, path: str, action: str, state: str = "active",
           causes: Sequence[str] = ()) -> Change:
    expect, want = ("active enabled due", "active enabled current") if kind == "unit" else ("a", "b")
    if kind == "unit":
        expect = ABSENT if state == "absent" else f"{state} enabled due"
    if kind == "link":
        path, was, will = path.split()
        name = path.rpartition("/")[2]
        expect, want = (f"link /opt/kubewright/{name}/{version}-12345678/{name}" for version in (was, will))
    return Change(host, phase, kind, path, action, "x", expect, want, causes=tuple(causes))


def planned(case: dict[str, Any]) -> Plan:
    changes = tuple(change(host, *row) for host, rows in case["hosts"].items() for row in rows)
    hosts = {h: HostDesired(h, (MEMBER,) if h in case.get("alone", ()) else (MEMBER, SERVER)) for h in case["hosts"]}
    return Plan("lab", Desired(hosts), changes, bootstrap=case.get("bootstrap", False))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_a_plan_has_these_turns(case: dict[str, Any]) -> None:
    made = [(stage.phase, turn) for stage in stages(planned(case)) for turn in stage.turns]
    assert made == [(phase, Turn(tuple(hosts), tuple(phases), tuple(guards)))
                    for phase, hosts, phases, guards in case["turns"]]


@pytest.mark.parametrize("case", [c for c in CASES if "order" in c], ids=lambda c: c["name"])
def test_a_step_makes_the_changes_of_a_turn_in_this_order(case: dict[str, Any]) -> None:
    plan = planned(case)
    phase, (host,), *_ = case["turns"][0]
    own = plan.of(phase)[host]
    turn = turns.turns(plan, phase, {host: own})[0]
    states = {c.path: c.expect for c in plan.changes}
    made = turns.in_order(plan, turn, host, own, lambda _, unit: states.get(unit, ABSENT))
    listed = [" with what it had" if isinstance(c.item, Unit) and c.item.listed and c.action == "start" else ""
              for c in made]
    assert [f"{c.action} {c.path}{had}" for c, had in zip(made, listed, strict=True)] == case["order"]


def test_members_that_serve_nobody_even_together_start_together_and_their_api_servers_later() -> None:
    plan = planned({"hosts": {h: [["etcd", "unit", "etcd.service", "restart"],
                                  ["control-plane", "unit", "kube-apiserver.service", "restart"]]
                              for h in ("cp1", "cp2", "cp3")}})
    made = turns.turns(plan, "etcd", plan.of("etcd"), standing=Standing(down=frozenset({"cp1", "cp3"})))
    assert made == (Turn(("cp1", "cp3"), ("etcd",)),
                    Turn(("cp2",), ("etcd", "control-plane"), (OUT_OF_SERVICE, LEADS_ELSEWHERE)))


def test_every_guard_that_a_turn_may_have_is_done_and_has_words() -> None:
    assert {DRAINED, *turns.GUARDS.values(), *turns.FAREWELLS.values()} == set(WORDS) == set(guards.GUARDS)


class Counted(tuple[Change, ...]):
    """Changes that count how often somebody goes through all of them."""

    gone_through = 0

    def __iter__(self) -> Iterator[Change]:
        Counted.gone_through += 1
        return super().__iter__()


def test_the_turns_of_a_plan_are_found_without_going_through_all_changes_for_each_host() -> None:
    hosts = {f"h{n}": HostDesired(f"h{n}", (MEMBER, SERVER)) for n in range(50)}
    changes = [change(host, "etcd", "unit", "etcd.service", "restart") for host in hosts]
    stages(Plan("lab", Desired(hosts), Counted(changes)))
    assert 0 < Counted.gone_through < 5
