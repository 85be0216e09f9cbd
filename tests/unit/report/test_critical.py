"""What a run waited for, out of its events: one chain without gaps, from the last thing that ended backwards."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from provisioner.report.critical import by_phase, critical_path, waited_for
from provisioner.report.story import Story, story_of
from tests.unit.report.stories import RECORDED, event, told


def phase(name: str, began: float, ended: float, *after: str) -> list[dict[str, Any]]:
    return [event("phase-start", began, phase=name, data={"after": list(after)}),
            event("phase-done", ended, phase=name, status="ok", seconds=ended - began)]


def work(name: str, host: str, began: float, ended: float) -> list[dict[str, Any]]:
    return [event("host-start", began, phase=name, host=host, data={"changes": 1}),
            event("host-done", ended, phase=name, host=host, status="ok", seconds=ended - began)]


def proof(name: str, began: float, ended: float, host: str = "", what: str = "so") -> list[dict[str, Any]]:
    return [event("gate", ended, phase=name, host=host, status="ok", seconds=ended - began,
                  data={"when": "after", "proved": [what]})]


def story(*events: list[dict[str, Any]], seconds: float) -> Story:
    told = sorted((e for some in events for e in some), key=lambda e: e["t"])
    return story_of("r", [event("run-start", 0.0), *told, event("run-end", seconds, status="ok", seconds=seconds)])


FIRST_START = story(
    phase("packages", 1.0, 12.0), work("packages", "w1", 1.0, 7.0), work("packages", "w2", 1.0, 12.0),
    phase("binaries", 1.0, 9.0), work("binaries", "w1", 1.0, 9.0),
    phase("members", 12.0, 16.0, "packages", "binaries"), work("members", "w1", 12.0, 14.0),
    proof("members", 14.0, 15.8, what="one leader; and more"),
    phase("addons", 16.0, 30.0, "members", "nodes"),       # told before what its proof waits for
    phase("nodes", 16.0, 20.0, "members"), work("nodes", "w2", 16.0, 20.0),
    proof("addons", 20.0, 30.0, what="available"),
    phase("verify", 30.0, 31.0, "members", "nodes", "addons"), seconds=31.0)


def test_the_chain_goes_through_what_the_next_one_waited_for_and_leaves_out_what_had_time() -> None:
    assert [(link.what, link.began, link.ended) for link in critical_path(FIRST_START) if link.what] == [
        ("packages on w2", 1.0, 12.0), ("members on w1", 12.0, 14.0), ("members: one leader", 14.0, 15.8),
        ("nodes on w2", 16.0, 20.0), ("addons: available", 20.0, 30.0)]


def test_in_one_line_what_is_short_and_what_lies_between_is_told_last() -> None:
    assert waited_for(FIRST_START) == (
        "packages on w2 11.0 s · members on w1 2.0 s · members: one leader 1.8 s · nodes on w2 4.0 s · "
        "addons: available 10.0 s · all else 2.2 s")


def test_by_phase_all_of_the_time_is_somewhere() -> None:
    assert [(name, round(seconds, 3)) for name, _, seconds in by_phase(FIRST_START)] == [
        ("packages", 12.0), ("members", 4.0), ("nodes", 4.0), ("addons", 10.0), ("verify", 1.0)]


def test_where_nothing_says_what_a_phase_waited_for_it_was_the_one_that_ended_before_it() -> None:
    one_by_one = [e | {"data": {}} if e["type"] == "phase-start" else e for e in [
        *phase("one", 0.0, 5.0), *work("one", "cp1", 0.0, 2.0), *work("one", "cp2", 2.0, 5.0), *phase("two", 5.0, 5.0),
        *phase("three", 5.0, 9.0), *work("three", "cp1", 5.5, 9.0)]]
    assert waited_for(story(one_by_one, seconds=9.0)) == (
        "one on cp1 2.0 s · one on cp2 3.0 s · three on cp1 3.5 s · all else 0.5 s")


def test_a_run_in_which_nothing_took_long_says_how_long_all_of_it_took() -> None:
    assert waited_for(story(phase("verify", 0.0, 0.2), seconds=0.3)) == "all else 0.3 s"


@pytest.mark.parametrize("file", RECORDED, ids=lambda path: path.stem)
def test_of_every_beginning_of_a_recorded_run_the_chain_has_no_gap(file) -> None:  # type: ignore[no-untyped-def]
    events = told(file)
    for end in range(1, len(events), 7):
        seen = story_of("r", events[:end])
        chain = critical_path(seen)
        assert sum(link.seconds for link in chain) == pytest.approx(seen.seconds)
        assert all(one.ended == next_.began for one, next_ in pairwise(chain))
