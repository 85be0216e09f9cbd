"""What ansible-runner's events mean for a host."""

from __future__ import annotations

import pytest

from provisioner.converge.results import HostResult, begins, finished, of_event
from provisioner.errors import GateFailed, PlanStale, Unreachable


def event(kind: str, host: str = "cp1", **res: object) -> dict[str, object]:
    return {"event": kind, "event_data": {"host": host, "task": "Install packages", "res": res}}


def test_an_answer_of_the_applier_is_the_hosts_outcome() -> None:
    rows = [{"kind": "file", "path": "/a", "result": "done"}, {"kind": "file", "path": "/b", "result": "skipped"}]
    result = of_event(event("runner_on_ok", kubewright={"status": "done", "changes": rows}))
    assert result is not None and (result.status, result.written) == ("done", 1)
    assert result.fault() is None


def test_stale_rows_are_named_in_the_fault() -> None:
    rows = [{"kind": "file", "path": "/a", "result": "stale", "detail": "found 'x'"}, {"path": "/b", "result": "done"}]
    result = of_event(event("runner_on_failed", kubewright={"status": "stale", "changes": rows}, msg="step s: stale"))
    assert result is not None
    fault = result.fault()
    assert isinstance(fault, PlanStale) and fault.exit_code == 16
    assert (fault.message, fault.details) == ("cp1: applying: step s: stale", ("/a: stale: found 'x'",))


@pytest.mark.parametrize(("status", "kind"), [
    ("failed", GateFailed), ("running", GateFailed), ("canceled", GateFailed), ("unreachable", Unreachable)])
def test_every_other_outcome_is_a_fault_of_its_kind(status: str, kind: type[Exception]) -> None:
    assert isinstance(HostResult("cp1", status).fault(), kind)  # type: ignore[arg-type]


def test_a_failed_task_is_told_with_its_name_and_last_words() -> None:
    result = of_event(event("runner_on_failed", stderr="E: Unable to locate\n package haproxy", msg="rc 100"))
    assert result is not None and result.message == "Install packages: E: Unable to locate package haproxy"


def test_what_a_failed_task_said_becomes_headline_causes_and_cure_with_all_of_its_words_below() -> None:
    said = "Reading package lists...\nE: Unable to locate package haproxy\n"
    result = of_event(event("runner_on_failed", stderr=said))
    assert result is not None
    fault = result.fault()
    assert isinstance(fault, GateFailed)
    assert fault.message == "cp1: applying: no package source has haproxy"
    assert fault.details[0].startswith("likely: the lists are old or empty")
    assert fault.details[1:] == ("Reading package lists...", "E: Unable to locate package haproxy")
    assert fault.hint.startswith("on cp1: grep -rhE '^(deb|URIs)' /etc/apt/sources.list ")


def test_words_of_a_failed_task_that_nobody_knows_are_told_whole() -> None:
    said = "\n".join(f"line {number} " + "x" * 300 for number in range(9))
    result = of_event(event("runner_on_failed", stderr=said))
    assert result is not None
    fault = result.fault()
    assert fault is not None and fault.details == tuple(said.splitlines())
    assert fault.message.startswith("cp1: applying: Install packages: line 0 xxx")


def test_the_units_that_failed_are_known_by_name() -> None:
    rows = [{"kind": "unit", "path": "etcd.service", "result": "failed", "detail": "Job for etcd.service failed"},
            {"kind": "file", "path": "/a", "result": "failed"}, {"kind": "unit", "path": "b.service", "result": "done"}]
    assert HostResult("cp1", "failed", tuple(rows)).failed_units == ["etcd.service"]


def test_an_unreachable_host_is_told_in_one_line() -> None:
    result = of_event(event("runner_on_unreachable", msg="Task failed:\r\nConnection refused\r\n"))
    assert result == HostResult("cp1", "unreachable", message="Task failed: Connection refused",
                                said="Task failed:\nConnection refused")


@pytest.mark.parametrize("kind", ["runner_on_start", "runner_on_skipped", "verbose", "playbook_on_task_start"])
def test_other_events_tell_no_outcome(kind: str) -> None:
    assert of_event(event(kind)) is None
    assert of_event({"event": "runner_on_ok"}) is None


def test_a_plain_tasks_success_is_not_yet_the_hosts() -> None:
    assert of_event(event("runner_on_ok", changed=True)) is None


def test_the_closing_statistics_name_who_came_through_although_others_failed() -> None:
    stats = {"event": "playbook_on_stats", "event_data": {
        "processed": {"cp1": 1, "cp2": 1, "w1": 1, "w2": 1}, "ok": {"cp1": 3, "cp2": 2}, "skipped": {"w2": 1},
        "failures": {"cp2": 1}, "dark": {"w1": 1}}}
    assert finished(stats) == {"cp1", "w2"}
    assert finished({"event": "runner_on_ok", "event_data": stats["event_data"]}) == set()


def test_a_task_that_begins_is_known_by_its_name() -> None:
    start = {"event": "playbook_on_task_start", "event_data": {"task": "Install packages"}}
    assert begins(start) == "Install packages"
    assert begins({"event": "playbook_on_task_start"}) == begins(event("runner_on_ok")) == ""
