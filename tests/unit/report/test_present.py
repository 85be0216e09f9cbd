"""The newest run in lines: whose turn it is while it goes, one line when it ended well, what stopped it else."""

from __future__ import annotations

from provisioner.report.present import present_lines
from provisioner.report.story import story_of
from tests.unit.report.stories import event, recorded, small


def test_a_run_that_goes_says_whose_turn_it_is() -> None:
    told = [*small()[:1], event("phase-start", 1000.0, phase="etcd"),
            event("host-start", 1000.0, phase="etcd", host="cp1"),
            event("host-done", 1003.0, phase="etcd", host="cp1", status="ok"),
            event("host-start", 1003.0, phase="etcd", host="cp2")]
    assert list(present_lines(story_of("r", told, outcome="running"), 1005.0)) == [
        "Run      r   up by ann on desk   running   5s",
        "  … etcd               5.0s  now cp2; done cp1",
        "Prober   tells what it saw when the run ends"]


def test_a_run_that_ended_well_is_a_line_and_what_the_prober_saw() -> None:
    story = recorded("rolling-change")
    first, *rest = present_lines(story, 0.0)
    assert first.startswith(f"Last run {story.id}   up") and "   done   " in first
    assert rest == [f"Prober   {story.availability['headline']}"]


def test_a_run_that_failed_says_where_and_why() -> None:
    story = story_of("r", small())
    lines = list(present_lines(story, 0.0))
    assert "  ✗ node               3.0s  w1: no" in lines
    assert f"  {story.message}" in lines


def test_what_a_host_said_does_not_move_the_cursor() -> None:
    lines = list(present_lines(story_of("r", small("\x1b[2J\r")), 0.0))
    assert len(lines) > 3 and not [line for line in lines if not line.isprintable()]
