"""The readers of a run's events: lines for people, JSON for programs, a file for later."""

from __future__ import annotations

import io
import json
import stat
import time
from pathlib import Path

import pytest

from provisioner.model.events import SCHEMA_VERSION, Event
from provisioner.report.console import Console, is_plain, json_lines, to_all, to_file

STORY = (
    Event("run-start", 1.0, message="20260101-000000-ab12", data={"phases": ["pki", "etcd", "node"]}),
    Event("phase-start", 1.0, phase="pki", message="certificates, keys and kubeconfigs"),
    Event("host-done", 1.5, host="cp1", status="ok", data={"written": 30}),
    Event("phase-done", 2.0, phase="pki", status="ok", message="5 hosts, 84 changes", seconds=1.25),
    Event("phase-start", 2.0, phase="etcd", message="the members"),
    Event("waiting", 7.0, phase="etcd", message="no leader that all agree on"),
    Event("phase-done", 8.0, phase="etcd", status="nothing-to-do", seconds=6.0),
    Event("diagnostic", 8.0, message="old1 is not in the inventory"),
    Event("phase-start", 8.0, phase="node", message="kubelet and kube-proxy"),
    Event("host-done", 9.0, host="w1", status="failed", message="applying: the disk is full"),
    Event("phase-done", 9.0, phase="node", status="failed", message="w1: applying: the disk is full", seconds=0.5),
    Event("run-end", 9.0, phase="node", status="failed", message="w1: ...", seconds=8.0,
          data={"not_started": ["network", "verify"]}),
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "KUBEWRIGHT_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def told(stream: io.StringIO, *, verbose: bool = False) -> str:
    console = Console(stream, verbose=verbose)
    for event in STORY:
        console(event)
    return stream.getvalue()


def test_off_a_terminal_each_finished_phase_is_one_plain_line_with_its_seconds() -> None:
    assert told(io.StringIO()).splitlines() == [
        "Run 20260101-000000-ab12",
        "  ✓ pki               1.2s  5 hosts, 84 changes",
        "  … etcd           no leader that all agree on",
        "  · etcd              6.0s",
        "  ! old1 is not in the inventory",
        "    w1     failed applying: the disk is full",
        "  ✗ node              0.5s",
        "  · not started: network, verify"]


def test_plain_lines_hold_no_cursor_moves() -> None:
    assert not set(told(io.StringIO())) & {"\x1b", "\r"}


def test_verbose_tells_each_host() -> None:
    assert "    cp1    ok" in told(io.StringIO(), verbose=True).splitlines()


def test_on_a_terminal_the_running_phase_stands_in_the_last_line_and_finished_ones_stay() -> None:
    text = told(Terminal())
    assert "\r\x1b[K  … pki            certificates, keys and kubeconfigs" in text
    shown = [line.rpartition("\r\x1b[K")[2] for line in text.split("\n")]
    assert "  ✓ pki               1.2s  5 hosts, 84 changes" in shown
    assert not any("…" in line for line in shown), "what a phase waits for is gone when it ends"


def test_a_status_line_is_never_wider_than_the_terminal() -> None:
    stream = Terminal()
    Console(stream)(Event("phase-start", 0.0, phase="pki", message="x" * 300))
    assert len(stream.getvalue().removeprefix("\r\x1b[K")) < 80


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("KUBEWRIGHT_PROGRESS", "plain"), ("TERM", "dumb")])
def test_a_terminal_is_plain_where_someone_asked_for_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert not is_plain(Terminal())
    monkeypatch.setenv(name, value)
    assert is_plain(Terminal())


def test_every_event_is_one_json_line_with_the_schema_s_version_and_no_empty_field() -> None:
    stream = io.StringIO()
    write = json_lines(stream)
    for event in STORY:
        write(event)
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(rows) == len(STORY)
    allowed = {"v", "type", "t", "phase", "host", "status", "message", "seconds", "data"}
    for row, event in zip(rows, STORY, strict=True):
        assert row["v"] == SCHEMA_VERSION
        assert (row["type"], row["t"]) == (event.type, event.t)
        assert row.keys() <= allowed
        assert "" not in row.values() and None not in row.values()
    assert {r["type"] for r in rows} <= {"run-start", "phase-start", "waiting", "host-done", "phase-done", "diagnostic",
                                         "run-end"}


def test_the_event_file_grows_line_by_line_and_is_private_from_its_creation(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    write = to_file(file)
    for event in STORY[:2]:
        write(event)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [json.loads(line)["type"] for line in file.read_text().splitlines()] == ["run-start", "phase-start"]


def test_all_readers_get_every_event_in_the_same_order() -> None:
    one: list[Event] = []
    two: list[Event] = []
    write = to_all([one.append, two.append])
    for event in STORY:
        write(event)
    assert one == two == list(STORY)


def test_an_event_of_a_type_unknown_to_the_console_is_passed_over() -> None:
    stream = io.StringIO()
    Console(stream)(Event("something-new", time.time(), message="later"))
    assert stream.getvalue() == ""
