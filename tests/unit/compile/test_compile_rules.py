"""The change rules: every row by cases, and no path of the inventory without a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.cli.verbs import NOT_YET, existing_verbs
from provisioner.compile.rules import CLUSTER_ILL, FLAGS, TABLE, Change, find, judge
from provisioner.model.cluster import Cluster
from provisioner.model.plan import ALLOWED, NEEDS_FLAG, REMOVED_APIS
from tests.unit.compile.compile_fixture import LAB, inventory

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "rules.yaml").read_text())
OLD = inventory()


def changed(values: dict[str, Any]) -> Cluster:
    """Return the fixture's inventory with values replaced by their dotted paths."""
    document = yaml.safe_load(LAB)
    for path, value in values.items():
        *parents, last = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            place.pop(last)
        else:
            place[last] = value
    return Cluster.model_validate(document)


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_a_change_is_allowed_needs_a_flag_or_is_refused(case: dict[str, Any]) -> None:
    found = judge(changed(case.get("was", {})), changed(case["set"]), case.get("verb", "up"), case.get("named", ()))
    assert {v.code: v.outcome for v in found} == case["says"]
    for verdict in found:
        assert verdict.sentence and verdict.path in str(verdict) and verdict.code in str(verdict)


def test_every_row_that_speaks_has_a_case() -> None:
    spoken = {code for case in CASES for code in case["says"]}
    assert {rule.code for rule in TABLE if rule.outcome != ALLOWED} == spoken


def test_every_row_that_a_verb_may_do_has_a_case_for_that_verb_and_one_for_up() -> None:
    for rule in (r for r in TABLE if r.by):
        done = [c for c in CASES if c.get("verb") == rule.by and rule.code not in c["says"]]
        alike = [c for c in CASES if "verb" not in c and rule.code in c["says"]]
        assert any(c["set"] == d["set"] for c in alike for d in done), rule.code


def test_no_sentence_sends_anybody_to_a_verb_that_does_not_exist() -> None:
    verbs = existing_verbs()
    for rule in (r for r in TABLE if r.by):
        assert rule.by.split()[0] in verbs or f"kubewright {rule.by}" not in rule.sentence, rule.code
        assert rule.by.split()[0] in {*verbs, *NOT_YET}, "neither a verb nor one that is told to come"


def test_a_code_says_one_thing() -> None:
    codes = [rule.code for rule in TABLE if rule.outcome != ALLOWED]
    assert len(codes) == len(set(codes))
    assert not {CLUSTER_ILL, REMOVED_APIS} & set(codes)
    assert {CLUSTER_ILL, REMOVED_APIS, *(rule.code for rule in TABLE if rule.outcome == NEEDS_FLAG)} == FLAGS


def test_a_verdict_says_what_it_was_and_what_it_is() -> None:
    (verdict,) = judge(OLD, changed({"network.pods": ["10.245.0.0/16"]}))
    assert str(verdict).startswith("network.pods: 10.244.0.0/16 → 10.245.0.0/16: every node has ")
    (gone,) = judge(OLD, changed({"hosts.w2": None}))
    assert str(gone).startswith("hosts.w2: in the inventory → not there: ")


def leaves(model: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every field of the inventory's schema; `x` stands for names that people give."""
    found = []
    for key, field in model.model_fields.items():
        name = field.alias or key
        inner = field.annotation
        if name == "hosts" and not path:
            found += leaves(Cluster.model_fields["hosts"].annotation.__args__[1], ("hosts", "w1"))  # type: ignore[union-attr]
        elif hasattr(inner, "model_fields"):
            found += leaves(inner, (*path, name))
        else:
            found.append((*path, name))
    return found


def test_no_field_of_the_inventory_is_without_a_row() -> None:
    not_applied = {"version", "ssh", "operators", "lab", "gates", "artifacts"}
    walked = [p for p in leaves(Cluster) if not not_applied & set(p)]
    assert len(walked) > 15
    for path in walked:
        before, after = ("1.36.3", "1.36.4") if path == ("kubernetes",) else (["a"], ["b"])
        assert find(Change(path, before, after, OLD, OLD))
    for below in (("config", "kubelet", "a", "b"), ("hosts", "w1", "config", "kubelet", "x"),
                  ("hosts", "w1", "labels", "a.b/c")):
        assert find(Change(below, None, "b", OLD, OLD)).outcome == ALLOWED


def test_a_path_that_no_row_knows_is_a_hole_and_not_allowed() -> None:
    with pytest.raises(LookupError, match=r"network\.new"):
        find(Change(("network", "new"), 1, 2, OLD, OLD))
