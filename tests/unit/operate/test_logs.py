"""Names and times as people type them, and journald's JSON as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from provisioner.errors import UsageFault
from provisioner.operate import logs
from provisioner.operate.logs import Line
from tests.fakes.hosts import FakeHosts
from tests.unit.compile.compile_fixture import lock


@pytest.mark.parametrize(("word", "unit"), [
    ("etcd", "etcd.service"), ("etcd.service", "etcd.service"), ("fstrim.timer", "fstrim.timer"),
    ("kubewright-step-20261125-014721-ee22.etcd.0", "kubewright-step-20261125-014721-ee22.etcd.0.service"),
    ("user@0", "user@0.service")])
def test_a_units_name_is_completed(word: str, unit: str) -> None:
    assert logs.unit_name(word) == unit


@pytest.mark.parametrize("word", ["", "-f", "a b", "../etcd", "etcd*", "a;b", "x" * 300])
def test_what_can_be_no_unit_is_refused_here(word: str) -> None:
    with pytest.raises(UsageFault) as fault:
        logs.unit_name(word)
    assert fault.value.code == "unit-unknown"


@pytest.mark.parametrize(("text", "when"), [("10m", "-10m"), ("2h", "-2h"), ("today", "today"),
                                            ("2026-01-31 12:00", "2026-01-31 12:00"), ("", "")])
def test_a_short_time_is_ago(text: str, when: str) -> None:
    assert logs.since_when(text) == when


@pytest.mark.parametrize(("entry", "line"), [
    ({"__REALTIME_TIMESTAMP": "1500000", "MESSAGE": "up", "PRIORITY": "3", "SYSLOG_IDENTIFIER": "etcd", "_PID": "7"},
     Line(1.5, "etcd", 7, 3, "up")),
    ({"__REALTIME_TIMESTAMP": "0", "MESSAGE": [104, 105, 255], "_COMM": "sh"}, Line(0.0, "sh", 0, 6, "hi\ufffd")),
    ({"__REALTIME_TIMESTAMP": "0", "MESSAGE": None}, Line(0.0, "-", 0, 6, "")),
    ({"__REALTIME_TIMESTAMP": "0", "MESSAGE": ["a", "b"]}, Line(0.0, "-", 0, 6, "a\nb"))])
def test_every_form_of_journalds_json_becomes_a_line(entry: Mapping[str, Any], line: Line) -> None:
    assert logs.line_of(entry) == line


def test_a_message_cannot_steer_the_terminal() -> None:
    assert list(logs.printable("a\x1b[2J\tb\nc")) == ["a\\x1b[2J\tb", "c"]


def ask(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], word: str = "etcd", **more: Any) -> list[Any]:
    """Read with a host that gives one line and then `answer`; return what it was asked and what was shown."""
    seen: list[Any] = []

    def journal(connection: object, request: object, take: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        seen.append(request)
        take({"__REALTIME_TIMESTAMP": "0", "MESSAGE": "m"})
        return answer

    hosts = FakeHosts({}, lock())
    monkeypatch.setattr(hosts, "journal", journal)
    logs.read(hosts.on("cp1"), word, seen.append, **{"lines": 5, **more})
    return seen


def test_the_host_is_asked_for_the_whole_name_and_its_lines_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(monkeypatch, {"ended": True}) == [
        {"unit": "etcd.service", "lines": "5", "since": "", "follow": False}, Line(0.0, "-", 0, 6, "m")]
    request = ask(monkeypatch, {"ended": True}, lines=None, since="10m", follow=True)[0]
    assert request == {"unit": "etcd.service", "lines": "all", "since": "-10m", "follow": True}


def test_a_typing_error_names_our_units_there_and_the_likely_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageFault) as fault:
        ask(monkeypatch, {"unknown": "kublet.service", "ours": ["etcd.service", "kubelet.service"]}, "kublet")
    assert (fault.value.message, fault.value.details, fault.value.hint) == (
        "cp1: there is no unit kublet.service", ("units of ours there: etcd kubelet",), "kubewright logs cp1 kubelet")


def test_an_empty_host_says_that_nothing_of_ours_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageFault, match="there is no unit etcd") as fault:
        ask(monkeypatch, {"unknown": "etcd.service", "ours": []})
    assert fault.value.details == ("there are no units of ours there yet",)


def test_a_time_that_journalctl_does_not_know_is_a_usage_fault_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageFault, match="Failed to parse timestamp: soon"):
        ask(monkeypatch, {"refused": "Failed to parse timestamp: soon"}, since="soon")
