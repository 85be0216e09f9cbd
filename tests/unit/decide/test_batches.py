"""How many hosts at a time and in which order, from cases that are data, and what holds for any of them."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.decide.batches import Limit, Standing, batches, interrupts
from provisioner.errors import UsageFault
from provisioner.model.components import INTERRUPTING
from provisioner.model.phases import PHASES, PhaseName
from provisioner.model.plan import Change

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "batches.yaml").read_text())
ACTIONS = ("add", "change", "start", "restart", "reload", "enable")


def change(host: str, phase: PhaseName, action: str, state: str = "active") -> Change:
    kind = "file" if action in ("add", "change") else "unit"
    return Change(host, phase, kind, "x", action, "", "" if kind == "file" else f"{state} enabled due", "")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_hosts_go_in_these_batches(case: dict[str, Any]) -> None:
    states = dict.fromkeys(case.get("down", ()), "activating")
    changes = {host: [change(host, case["phase"], a, states.get(host, "active")) for a in actions]
               for host, actions in case["hosts"].items()}
    standing = Standing(frozenset(case.get("lost", ())), tuple(case.get("first", ())), tuple(case.get("last", ())))
    made = batches(case["phase"], changes, live=case["live"], workers=case.get("workers", ()),
                   limit=case.get("limit", 1), standing=standing, canary=case.get("canary", False))
    assert made == [tuple(b) for b in case["batches"]]


@pytest.mark.parametrize("seed", range(200))
def test_whatever_the_changes_every_host_goes_once_and_no_more_are_interrupted_than_may_be(seed: int) -> None:
    dice = random.Random(seed)     # noqa: S311  # cases, not secrets
    names = [f"h{n}" for n in range(dice.randint(1, 12))]
    workers = [n for n in names if dice.random() < 0.6]
    phase, limit = dice.choice(sorted(INTERRUPTING)), dice.randint(1, 5)
    changes = {n: [change(n, phase, dice.choice(ACTIONS), dice.choice(("active", "activating")))
                   for _ in range(dice.randint(1, 3))] for n in dice.sample(names, len(names))}
    standing = Standing(first=tuple(dice.sample(names, 1)), last=tuple(dice.sample(names, 1)))
    made = batches(phase, changes, live=True, workers=workers, limit=limit, standing=standing)
    assert sorted(itertools.chain(*made)) == sorted(names)
    disturbed = {n for n in names if interrupts(changes[n])}
    for number, batch in enumerate(made):
        hit = disturbed & set(batch)
        assert not hit or hit == set(batch), "what interrupts nothing never waits for what does"
        assert len(hit) <= (limit if hit <= set(workers) else 1)
        assert hit or number == 0
    assert batches(phase, changes, live=False) == [tuple(changes)]


@pytest.mark.parametrize(("text", "workers", "many"), [
    ("1", 10, 1), ("3", 10, 3), ("25%", 10, 2), ("1%", 10, 1), ("100%", 7, 7), ("34%", 3, 1), ("50%", 0, 1)])
def test_a_share_of_the_workers_is_rounded_down_but_one_may_always_be_unavailable(
        text: str, workers: int, many: int) -> None:
    assert Limit.parse(text).of(workers) == many


@pytest.mark.parametrize("text", ["0", "0%", "101%", "-1", "a", "", "1.5", "%", "1 %"])
def test_what_is_no_number_of_workers_is_refused(text: str) -> None:
    with pytest.raises(UsageFault, match="neither a number from 1 nor a share"):
        Limit.parse(text)


def test_every_phase_whose_restarts_interrupt_is_a_phase() -> None:
    assert set(PHASES) >= INTERRUPTING
