"""The order of the lab tests, their shards, and what a resumed run leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import durations, selection
from tests.lab.selection import Manners

TOPOLOGIES = ("stacked", "single")


CALM, DIRTY = Manners(), Manners("dirties")
ONE, TWO, BEARS = Manners("changes", "a"), Manners("changes", "b"), Manners("changes", "0", bears=True)


def test_tests_are_sorted_by_topology_and_by_what_they_leave_and_not_by_their_names() -> None:
    asked = [("dirty", "stacked", DIRTY), ("single", "single", CALM), ("calm", "stacked", CALM),
             ("last", "stacked", Manners("dirties", bears=True)), ("bears", "stacked", BEARS), ("own", None, CALM),
             ("change", "stacked", ONE), ("other", "stacked", TWO), ("change too", "stacked", ONE),
             ("calm too", "stacked", CALM)]
    ordered = sorted(asked, key=lambda row: selection.rank(row[1], row[2], TOPOLOGIES))
    assert [name for name, *_ in ordered] == [
        "own", "calm", "calm too", "change", "change too", "other", "bears", "last", "dirty", "single"]


@pytest.mark.parametrize(("tests", "expected"), [
    ([CALM, CALM, ONE, ONE], False), ([CALM, ONE, BEARS, Manners("dirties", bears=True)], False), ([DIRTY], False),
    ([ONE, TWO], True), ([BEARS, TWO], True), ([ONE, CALM], True), ([ONE, DIRTY], True),
    ([DIRTY, Manners("dirties", bears=True)], True), ([DIRTY, BEARS], True)])
def test_a_snapshot_is_made_only_where_a_test_may_not_have_what_another_left(
        tests: list[Manners], expected: bool) -> None:
    assert selection.needs_snapshot(tests) is expected


def test_every_file_is_in_exactly_one_shard() -> None:
    files = [f"test_{number}.py" for number in range(10)]
    shards = [selection.shard_files(files, f"{number}/3") for number in (1, 2, 3)]
    assert sorted(file for shard in shards for file in shard) == files
    assert {len(shard) for shard in shards} == {3, 4}


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "a/b", "/2"])
def test_what_is_no_shard_is_refused(shard: str) -> None:
    with pytest.raises(ValueError, match="not I/N"):
        selection.shard_files(["a"], shard)


def test_what_passed_is_left_out_until_the_code_is_another(tmp_path: Path) -> None:
    file = tmp_path / "state" / "passed.json"
    first = selection.Passed(file, "commit a")
    first.add("test_x.py::test_1")
    first.add("test_x.py::test_2")
    assert selection.Passed(file, "commit a").tests == {"test_x.py::test_1", "test_x.py::test_2"}
    assert selection.Passed(file, "commit b").tests == set()
    first.forget()
    assert selection.Passed(file, "commit a").tests == set()


@pytest.mark.parametrize(("total", "load", "expected"), [
    (durations.CEILING + 1, 0.5, True), (durations.CEILING, 0.5, False), (durations.CEILING + 1, 2.1, False)])
def test_too_long_a_run_fails_on_a_quiet_machine_only(total: float, load: float, expected: bool) -> None:
    assert durations.exceeds(total, load=load, processors=2) is expected
