"""What a checkout would take back of what others have applied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile.taking_back import ETCD_BACK, FLAGS, judge
from provisioner.model.applied import Applied
from provisioner.model.cluster import Cluster
from provisioner.model.plan import NEEDS_FLAG, REFUSED
from tests.unit.compile.compile_fixture import LAB, lock

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "taking-back.yaml").read_text())


def made_from(values: dict[str, Any]) -> Applied:
    """Return the fixture's inventory and lock with values replaced by their dotted paths; null takes one away."""
    document, versions = yaml.safe_load(LAB), values.get("lock", {})
    for path, value in ((p, v) for p, v in values.items() if p != "lock"):
        *parents, last = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place.pop(last) if value is None else place.__setitem__(last, value)
    return Applied(Cluster.model_validate(document), lock(**versions))


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_what_others_applied_is_taken_back_with_a_word_only(case: dict[str, Any]) -> None:
    seen = made_from(case["seen"]) if "seen" in case else None
    verdicts = judge(seen, made_from(case["applied"]), made_from(case["asked"]))
    assert {v.path: v.code for v in verdicts} == case["says"]
    for verdict in verdicts:
        assert verdict.outcome == (REFUSED if verdict.code == ETCD_BACK else NEEDS_FLAG)
        assert (verdict.code in FLAGS) == (verdict.outcome == NEEDS_FLAG)
        assert verdict.before != verdict.after and verdict.sentence


def test_two_locks_of_one_version_with_other_bytes_are_told_apart() -> None:
    ours = made_from({})
    rebuilt = Applied(ours.cluster, lock("arm64"))
    assert {v.code for v in judge(ours, rebuilt, ours)} == {"applied-elsewhere"}
