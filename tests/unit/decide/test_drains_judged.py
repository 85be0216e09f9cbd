"""What a drain means for each Pod, by cases: who leaves, what comes of it, and which budget lets none go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.decide.draining import judge
from provisioner.decide.rehearsing import rehearse
from provisioner.model.draining import Placed
from provisioner.model.plan_document import DrainDocument
from provisioner.report.drain_text import drain_lines
from tests.unit.decide.placed_cases import placed

CASES_DIR = Path(__file__).resolve().parents[2] / "cases" / "drain"
CASES = yaml.safe_load((CASES_DIR / "judged.yaml").read_text())


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


def test_a_real_cluster_s_objects_are_judged_and_a_roll_of_them_is_rehearsed() -> None:
    """As a lab of three control planes and two workers showed them, trimmed of what no scheduler reads."""
    seen = json.loads((CASES_DIR / "recorded.json").read_text(encoding="utf-8"))
    there = Placed(seen["nodes"], seen["pods"], seen["pdb"], seen["pvc"], seen["pv"])
    assert list(drain_lines(judge(there, "w1"))) == [
        "  w1  takes no new Pods from now on; 3 Pods leave, 0 stay",
        "    ends   default/shell                 nobody makes another: it has no controller; emptyDir scratch is "
        "deleted",
        "    moves  default/web-6f94858449-4b8vq  Deployment web makes another",
        "    moves  default/web-6f94858449-4m2pb  Deployment web makes another"]
    assert {f.why for f in judge(there, "w1", with_it=["w2"]).leaving if f.fate == "waits"} == {
        "Deployment web makes another, and no other node could run it "
        "(taint node-role.kubernetes.io/control-plane:NoSchedule)"}
    roll = rehearse(there, [["cp1"], ["w1"], ["w2"]])
    assert [(step.drain.host, len(step.drain.leaving)) for step in roll] == [("cp1", 2), ("w1", 4), ("w2", 3)]
    assert [f.full_name for step in roll for f in step.drain.leaving if f.fate == "ends"] == ["default/shell"]
    assert not any(step.drain.holds or step.single or step.no_room for step in roll)
