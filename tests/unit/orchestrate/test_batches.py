"""How many hosts at a time, from cases that are data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile.host import PHASES
from provisioner.model.plan import Change
from provisioner.orchestrate.batches import INTERRUPTING, batches

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "batches.yaml").read_text())


def change(host: str, phase: str, action: str, state: str) -> Change:
    kind = "file" if action in ("add", "change") else "unit"
    return Change(host, phase, kind, "x", action, "", "" if kind == "file" else f"{state} enabled due", "")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_hosts_go_in_these_batches(case: dict[str, Any]) -> None:
    states = dict.fromkeys(case.get("down", ()), "activating")
    changes = {host: [change(host, case["phase"], a, states.get(host, "active")) for a in actions]
               for host, actions in case["hosts"].items()}
    assert batches(case["phase"], changes, live=case["live"]) == [tuple(b) for b in case["batches"]]


def test_every_phase_whose_restarts_interrupt_is_a_phase() -> None:
    assert set(PHASES) >= INTERRUPTING
