"""What a run leaves on a host about itself, and whose step a result is."""

from __future__ import annotations

import json

import pytest

from provisioner.applier import notes, steps
from tests.unit.applier.support import FakeHost, file_change
from tests.unit.applier.test_steps import request

ORIGIN = {"verb": "up", "who": "ops", "machine": "desk", "inventory": "abc"}


def test_a_runs_acts_are_appended_and_read_back_by_its_id(box: FakeHost) -> None:
    assert box.call("notes", {}) == {"runs": {}}
    box.call("note", {"run": "r1", "acts": [{"act": "begin", "t": 1}]})
    box.call("note", {"run": "r1", "acts": [{"act": "end", "t": 2}]})
    assert box.call("notes", {}) == {"runs": {"r1": [{"act": "begin", "t": 1}, {"act": "end", "t": 2}]}}
    assert box.leftovers() == []


@pytest.mark.parametrize("wrong", [{"run": "../x", "acts": []}, {"run": "r1", "acts": ["x"]}, {"run": "r1"}])
def test_what_is_no_note_is_refused(box: FakeHost, wrong: dict[str, object]) -> None:
    box.call("note", wrong, status=1)
    assert box.call("notes", {}) == {"runs": {}}


def test_only_the_newest_runs_are_kept(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "KEEP", 2)
    for run in ("20260101-000000-0001", "20260102-000000-0001", "20260103-000000-0001"):
        notes.note(box.host, {"run": run, "acts": [{"act": "begin"}]})
    assert sorted(notes.notes(box.host)["runs"]) == ["20260102-000000-0001", "20260103-000000-0001"]


def test_a_result_says_whose_step_it_was_and_one_runs_steps_can_be_asked_for(box: FakeHost) -> None:
    box.call("apply", {**request("r1.pki.0", file_change("/etc/a", "1")), "origin": ORIGIN})
    box.call("apply", request("r2.pki.0", file_change("/etc/b", "1")))
    (found,) = box.call("steps", {"run": "r1"})["steps"]
    assert (found["step"], found["origin"]) == ("r1.pki.0", ORIGIN)
    assert {s["step"] for s in box.call("steps", {})["steps"]} == {"r1.pki.0", "r2.pki.0"}


def test_a_step_without_a_result_runs_only_while_its_unit_does(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("r1.pki.0", "r1.node.0", "r2.node.0"):
        box.put(f"/var/lib/kubewright/steps/{step}/request.json", json.dumps(request(step)))
    monkeypatch.setattr(steps, "alive", lambda host, step: step.endswith("node.0"))
    assert steps.known(box.host, {"run": "r1"}) == {"steps": [], "running": ["r1.node.0"]}
