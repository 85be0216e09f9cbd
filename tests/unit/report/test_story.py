"""A run's events as one value, whatever of them there is."""

from __future__ import annotations

import pytest

from provisioner.report import html
from provisioner.report.story import OBJECTS, Story, story_of
from tests.unit.report.stories import RECORDED, event, small, told


def story() -> Story:
    return story_of("r", small())


def test_head_and_end_are_those_of_the_run() -> None:
    one = story()
    assert (one.cluster, one.kubernetes, one.origin.verb, one.hosts) == ("lab", "1.36.3", "up", ("cp1", "w1"))
    assert (one.outcome, one.stopped_in, one.seconds, one.not_started) == ("failed", "node", 10.0, ("verify",))
    assert (one.fault.code, one.fault.details, one.fault.hint) == (
        "step-failed", ("a detail",), "kubewright logs w1 kubelet")


def test_each_host_s_work_and_each_proof_has_its_place_in_time() -> None:
    assert [(t.host, t.phase, t.gate, t.began, t.ended, t.status) for t in story().turns] == [
        ("cp1", "etcd", False, 1.0, 3.0, "ok"), ("cp1", "etcd", True, 3.5, 5.0, "ok"),
        ("w1", "node", False, 7.0, 9.0, "failed"), ("w1", "node", True, 9.2, 10.0, "failed")]
    assert [(p.host, p.proved) for p in story().proofs][:2] == [
        ("cp1", ("etcd.service", "etcd /readyz")), ("", ("one etcd cluster",))]


def test_only_what_was_really_done_counts_as_a_change() -> None:
    assert [(m.host, m.kind, m.path, m.result) for m in story().made] == [
        ("w1", "file", "/etc/x", "done"), ("w1", "unit", "x.service", "stale"),
        (OBJECTS, "ConfigMap", "kube-system/x", "done")]
    assert story().changes == 2


def test_of_a_run_that_was_killed_all_is_told_until_then_and_what_was_open_stays_open() -> None:
    one = story_of("r", small()[:3])
    assert (one.outcome, one.seconds) == ("unfinished", 1.0)
    assert [(p.name, p.status) for p in one.phases] == [("etcd", "not ended")]
    assert [(t.host, t.status) for t in one.turns] == [("cp1", "not ended")]
    assert story_of("r", small()[:3], outcome="running").outcome == "running"


def test_a_host_of_which_no_end_was_told_worked_until_the_phase_ended() -> None:
    events = [e for e in small() if e["type"] != "host-done"]
    assert [(t.host, t.ended, t.status) for t in story_of("r", events).turns if not t.gate] == [
        ("cp1", 6.0, "not ended"), ("w1", 10.0, "not ended")]


def test_without_the_beginnings_that_older_runs_did_not_tell_a_host_s_work_begins_with_its_phase() -> None:
    events = [{k: v for k, v in e.items() if not (e["type"] == "host-done" and k == "phase")} for e in small()
              if e["type"] != "host-start"]
    assert [(t.host, t.phase, t.began) for t in story_of("r", events).turns if not t.gate] == [
        ("cp1", "etcd", 0.0), ("w1", "node", 7.0)]


@pytest.mark.parametrize("file", RECORDED, ids=lambda path: path.stem)
def test_every_beginning_of_a_recorded_run_is_a_story(file) -> None:  # type: ignore[no-untyped-def]
    events = told(file)
    for length in range(len(events) + 1):
        one = story_of("r", events[:length])
        assert all(0 <= t.began <= t.ended <= one.seconds + 0.001 for t in one.turns)
    assert one.outcome in ("done", "failed") and one.seconds > 1


def test_a_host_is_in_the_story_also_when_only_its_changes_are_told() -> None:
    assert story_of("r", [e for e in small() if e["type"] == "changed"]).hosts == ("w1",)


def test_a_host_s_turns_in_phases_beside_one_another_keep_their_own_times() -> None:
    beside = [event("run-start", 0.0), event("phase-start", 0.0, phase="prepare"),
              event("host-start", 1.0, phase="prepare", host="cp1"), event("phase-start", 1.0, phase="stage"),
              event("host-start", 2.0, phase="stage", host="cp1"),
              event("host-done", 5.0, phase="stage", host="cp1", status="ok"),
              event("phase-done", 5.0, phase="stage", status="ok"),
              event("host-done", 9.0, phase="prepare", host="cp1", status="ok"),
              event("phase-done", 9.0, phase="prepare", status="ok"), event("run-end", 9.0, status="ok")]
    seen = story_of("r", beside)
    assert [(t.phase, t.began, t.ended, t.status) for t in seen.turns] == [
        ("stage", 2.0, 5.0, "ok"), ("prepare", 1.0, 9.0, "ok")]
    rows = html._rows(seen)
    assert [(row.name, len(row.bars)) for row in rows] == [("phases", 1), ("phases", 1), ("cp1", 1), ("cp1", 1)]
