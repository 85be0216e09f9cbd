"""Who may have the lock: the cases are tests/cases/lock.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.decide.lock import Record, decide, has_majority

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases" / "lock.yaml").read_text(encoding="utf-8"))


def record(said: Mapping[str, Any]) -> Record:
    said = dict(said)
    by = said.pop("by", "")
    run = by or said.pop("run", "")
    return Record(**{"version": 1 if run else 0, "held": bool(by), "run": run, "process": {"run": run}} | said)


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_the_lock_is_decided_as_the_case_says(case: Mapping[str, Any]) -> None:
    seen = {host: record(said) for host, said in case["seen"].items()}
    made = decide(seen, case.get("groups", [["cp1", "cp2", "cp3"]]), lambda p: p["run"] in case.get("dead", ()))
    said = {"held": made.holder.run} if made.holder else {"free": made.epoch} if made.majority else {"unknown": True}
    assert said == {k: case[k] for k in ("held", "free", "unknown") if k in case}


@pytest.mark.parametrize(("hosts", "group", "enough"), [
    ("", "a", False), ("a", "a", True), ("a", "ab", False), ("ab", "abc", True), ("ab", "abcd", False),
    ("xyz", "abc", False)])
def test_a_majority_is_more_than_half_of_a_group(hosts: str, group: str, enough: bool) -> None:
    assert has_majority(hosts, [group]) is enough
