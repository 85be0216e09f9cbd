"""Which fields differ, in the forms that our files have: cases are data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile.fields import FieldChange, differing, of_text, said
from provisioner.model.desired import File
from tests.unit.compile.compile_fixture import compiled

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "fields.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_the_fields_that_differ_are_named(case: dict[str, Any]) -> None:
    assert said(of_text(case["path"], case["before"], case["after"])) == case["says"]


def test_no_text_of_ours_differs_from_itself_and_every_one_can_be_read() -> None:
    for host in compiled().hosts.values():
        for item in host.items:
            if isinstance(item, File) and item.content:
                assert of_text(item.path, item.content, item.content) == ()
                assert isinstance(of_text(item.path, "", item.content), tuple)


def test_what_comes_into_an_object_whole_is_named_leaf_by_leaf() -> None:
    assert list(differing({}, {"spec": {"replicas": 2, "paused": False}})) == [
        FieldChange("spec.replicas", None, "2"), FieldChange("spec.paused", None, "false")]
