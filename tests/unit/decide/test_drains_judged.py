"""What a drain means for each Pod, by cases: who leaves, what comes of it, and which budget lets none go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.decide.draining import judge
from provisioner.model.plan_document import DrainDocument
from provisioner.report.drain_text import drain_lines
from tests.unit.decide.placed_cases import placed

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "drain" / "judged.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_what_becomes_of_every_pod_of_a_node_is_said_before(case: dict[str, Any]) -> None:
    drain = judge(placed(case), "w1", case.get("force", ()))
    assert list(drain_lines(drain)) == case["lines"]


def test_a_node_that_is_drained_as_well_is_none_that_could_run_a_pod() -> None:
    case = next(c for c in CASES if c["name"].startswith("the only Pod"))
    (fate,) = judge(placed(case), "w1", with_it=["w2"]).leaving
    assert (fate.fate, fate.why) == ("waits", "Deployment web makes another, and no other node could run it")


def test_a_drain_goes_through_json_and_back_unchanged() -> None:
    for case in CASES:
        drain = judge(placed(case), "w1", case.get("force", ()))
        assert DrainDocument.model_validate_json(json.dumps(drain.to_json())).drain == drain
