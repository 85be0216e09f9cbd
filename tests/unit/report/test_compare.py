"""Two runs beside each other."""

from __future__ import annotations

import copy
from typing import Any

from provisioner.report.compare import SHOWN, compare, comparison_text
from provisioner.report.story import story_of
from tests.unit.report.stories import recorded, small


def text(first: list[dict[str, Any]], second: list[dict[str, Any]], *, whole: bool = False) -> list[str]:
    return list(comparison_text(compare(story_of("r1", first), story_of("r2", second)), whole=whole))


def changed() -> list[dict[str, Any]]:
    """Return the small run, with a slower phase, another change in place of one, and another result."""
    events = copy.deepcopy(small())
    for event in events:
        if event["type"] == "changed" and "changes" in event["data"]:
            event["data"]["changes"][0]["path"] = "/etc/y"
            event["data"]["changes"][1]["result"] = "done"
        if event["t"] >= 1007.0:
            event["t"] += 5.0
    return events


def test_a_run_beside_itself_differs_in_nothing() -> None:
    lines = text(small(), small())
    assert lines[-1] == "\nBoth made the same changes."
    assert all(line.endswith("the same") for line in lines[1:lines.index("")])
    assert not any("only in" in line for line in lines)


def test_ends_seconds_and_what_the_prober_saw_stand_beside_each_other() -> None:
    lines = text(small(), changed())
    assert [line.split() for line in lines[:4]] == [
        ["r1", "r2"], ["outcome", "failed", "in", "node", "failed", "in", "node", "the", "same"],
        ["seconds", "10.0", "15.0"], ["changes", "2", "3"]]
    assert any(line.split() == ["prober:", "failures", "1", "1", "the", "same"] for line in lines)


def test_phases_stand_beside_each_other_and_one_that_only_one_run_had_is_named() -> None:
    lines = text(small(), [e for e in changed() if e.get("phase") != "etcd"])
    assert any(line.split() == ["etcd", "6.0", "s", "not", "run"] for line in lines)
    assert any(line.split() == ["node", "3.0", "s", "failed", "3.0", "s", "failed"] for line in lines)


def test_changes_of_one_run_alone_and_other_results_are_named() -> None:
    lines = text(small(), changed())
    assert "\nonly in r1: 1 change" in lines and "  change   file /etc/x  on w1" in lines
    assert "\nonly in r2: 1 change" in lines and "  change   file /etc/y  on w1" in lines
    assert "  w1  unit x.service: stale, then done" in lines


def test_the_same_change_on_many_hosts_is_one_line_and_many_kinds_are_counted_unless_asked_for() -> None:
    many = copy.deepcopy(small())
    rows = [{"kind": "file", "path": f"/etc/{n}", "action": "add", "reason": "", "result": "done"} for n in range(30)]
    many[-1:-1] = [{"v": 1, "type": "changed", "t": 1009.0, "phase": "node", "host": host, "data": {"changes": rows}}
                   for host in ("cp1", "w1")]
    lines = text(small(), many)
    assert "\nonly in r2: 60 changes" in lines
    assert "  add      file /etc/0  on cp1, w1" in lines
    assert f"  and {30 - SHOWN} more (-v shows all)" in lines
    assert "  add      file /etc/29  on cp1, w1" in text(small(), many, whole=True)


def test_as_plain_values_nothing_is_left_out() -> None:
    found = compare(recorded("a-gate-that-failed"), recorded("certificates-renewed")).to_json()
    assert [run["outcome"] for run in found["runs"]] == ["failed", "done"]
    assert found["runs"][0]["availability"]["failures"] == 6
    by_name = {phase["name"]: phase["runs"] for phase in found["phases"]}
    assert by_name["node"][0] is None and by_name["node"][1]["status"] == "ok"
    assert len(found["only"][1]) == 8
