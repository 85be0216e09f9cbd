"""The readers of a run's events: lines for people, JSON for programs, a file for later."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from provisioner.model.events import SCHEMA_VERSION, Event
from provisioner.report.console import QUIET, Console, is_plain, json_lines, to_all, to_file, while_read
from tests.fakes.terminal import Terminal

CASES = Path(__file__).parents[2] / "cases" / "runs"
RECORDED = sorted(CASES.glob("*.jsonl"))
STORY = (
    Event("run-start", 1.0, message="20260101-000000-ab12", data={"phases": ["pki", "etcd", "node", "verify"]}),
    Event("phase-start", 1.0, phase="pki", message="certificates, keys and kubeconfigs"),
    Event("host-start", 1.0, phase="pki", host="cp1", data={"changes": 30}),
    Event("host-start", 1.0, phase="pki", host="w1", data={"changes": 5}),
    Event("host-done", 1.5, phase="pki", host="cp1", status="ok", seconds=0.5, data={"written": 30}),
    Event("phase-done", 2.0, phase="pki", status="ok", message="5 hosts, 84 changes", seconds=1.25),
    Event("phase-start", 2.0, phase="etcd", message="the members"),
    Event("waiting", 7.0, phase="etcd", message="no leader that all agree on"),
    Event("waiting", 8.0, phase="etcd", host="cp3", message="etcd /readyz: 503"),
    Event("gate", 18.0, phase="etcd", host="cp3", status="ok", seconds=10.5,
          data={"when": "after", "proved": ["etcd.service", "etcd /readyz"]}),
    Event("phase-done", 18.0, phase="etcd", status="nothing-to-do", seconds=16.0),
    Event("diagnostic", 18.0, message="old1 is not in the inventory"),
    Event("phase-start", 18.0, phase="node", message="kubelet and kube-proxy"),
    Event("host-done", 19.0, phase="node", host="w1", status="failed", message="applying: the disk is full"),
    Event("phase-done", 19.0, phase="node", status="failed", message="w1: applying: the disk is full", seconds=0.5),
    Event("run-end", 19.0, phase="node", status="failed", message="w1: ...", seconds=18.0,
          data={"not_started": ["verify"]}),
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "KUBEWRIGHT_PROGRESS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def replay(stream: io.StringIO, events: Sequence[Event], *, verbose: bool = False, every: float = 1.0) -> list[str]:
    """Let a console see events at their own times, with a tick every so often; return the lines it had last each time.
    """
    now = [events[0].t]
    console = Console(stream, verbose=verbose, clock=lambda: now[0], alive=False)
    seen = []
    for event in events:
        while now[0] + every < event.t:
            now[0] += every
            console.tick()
            seen.append(getattr(stream, "screen", [""])[-2:])
        now[0] = max(now[0], event.t)
        console(event)
        seen.append(getattr(stream, "screen", [""])[-2:])
    return [line for lines in seen for line in lines]


def told(stream: io.StringIO, *, verbose: bool = False) -> list[str]:
    replay(stream, STORY, verbose=verbose)
    return stream.getvalue().splitlines()


def test_off_a_terminal_each_finished_phase_is_one_plain_line_and_a_long_silence_says_what_it_waits_for() -> None:
    assert told(io.StringIO()) == [
        "Run 20260101-000000-ab12",
        "  ✓ pki               1.2s  5 hosts, 84 changes",
        "  … etcd              10s   cp3: etcd /readyz: 503",
        "  · etcd             16.0s",
        "  ! old1 is not in the inventory",
        "    w1     failed  applying: the disk is full",
        "  ✗ node              0.5s",
        "  · not started: verify"]


def test_plain_lines_hold_no_cursor_moves_and_no_colour() -> None:
    assert not set("\n".join(told(io.StringIO()))) & {"\x1b", "\r"}


def test_verbose_tells_each_host_s_changes_and_each_gate() -> None:
    lines = told(io.StringIO(), verbose=True)
    assert "    cp1    ok  0.5s  30 written" in lines
    assert "    cp3    ok  10.5s  gate after etcd: etcd.service, etcd /readyz" in lines


def test_on_a_terminal_the_running_phase_stands_last_and_changes_and_finished_ones_stay() -> None:
    terminal = Terminal()
    seen = replay(terminal, STORY)
    assert "  ⠋ pki                0s   1/2 hosts  w1: being changed" in seen
    assert "  · etcd · node · verify" in seen
    waits = [line[4:] for line in seen if "etcd /readyz" in line]
    assert waits == [f"etcd           {second:>5}s   cp3: etcd /readyz: 503" for second in range(6, 16)]
    assert terminal.screen == [
        "Run 20260101-000000-ab12",
        "  ✓ pki               1.2s  5 hosts, 84 changes",
        "  · etcd             16.0s",
        "  ! old1 is not in the inventory",
        "    w1     failed  applying: the disk is full",
        "  ✗ node              0.5s",
        "  · not started: verify"]


@pytest.mark.parametrize("events", RECORDED, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", ["plain", "verbose", "terminal"])
def test_a_recorded_run_is_shown_as_it_was(events: Path, kind: str) -> None:
    stream = Terminal() if kind == "terminal" else io.StringIO()
    story = [Event(**{k: v for k, v in json.loads(line).items() if k != "v"}) for line in events.open()]
    live = replay(stream, story, verbose=kind == "verbose")
    text = stream.getvalue()
    if isinstance(stream, Terminal):
        spinning = {re.sub(r" +\d+s ", " ", line[4:]): line[4:] for line in reversed(live)
                    if line[2:3] in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"}
        text = "\n".join([*stream.screen, "", "Lines that stood below meanwhile, each as it came:",
                          *reversed(spinning.values()), ""])
    golden = events.with_suffix(f".{kind}.txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("events", RECORDED, ids=lambda path: path.stem)
def test_what_a_terminal_shows_changes_at_least_every_ten_seconds(events: Path) -> None:
    story = [Event(**{k: v for k, v in json.loads(line).items() if k != "v"}) for line in events.open()]
    end, now = story[-1].t, [story[0].t]
    terminal = Terminal()
    console = Console(terminal, clock=lambda: now[0], alive=False)
    shown, since = terminal.screen, now[0]
    while now[0] < end:
        for event in (e for e in story if now[0] <= e.t < now[0] + 1):
            console(event)
        now[0] += 1
        console.tick()
        words = [line.lstrip(" ⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏") for line in terminal.screen]
        if words != shown:
            shown, since = words, now[0]
        assert now[0] - since < QUIET or not console._progress.running


def test_what_all_hosts_of_a_turn_wait_for_is_told_with_their_names() -> None:
    terminal = Terminal()
    hosts = [Event("host-start", 1.0, phase="prepare", host=h) for h in ("cp1", "cp2", "cp3", "w1", "w2")]
    replay(terminal, [Event("run-start", 0.0, data={"phases": ["prepare"]}),
                      Event("phase-start", 1.0, phase="prepare", message="packages"), *hosts,
                      Event("waiting", 2.0, phase="prepare", message="Install packages"),
                      Event("host-done", 3.0, phase="prepare", host="cp2", status="ok")])
    assert terminal.screen == [
        "Run", "  ⠋ prepare            2s   1/5 hosts  cp1, cp3, w1, w2: Install packages"]


def test_of_hosts_that_go_one_after_the_other_it_is_told_how_many_there_are() -> None:
    terminal = Terminal()
    replay(terminal, [Event("run-start", 0.0, data={"phases": ["etcd"]}),
                      Event("phase-start", 1.0, phase="etcd", message="the members", data={"hosts": 3}),
                      Event("host-start", 1.0, phase="etcd", host="cp2"),
                      Event("host-done", 3.0, phase="etcd", host="cp2", status="ok"),
                      Event("host-start", 3.0, phase="etcd", host="cp3")])
    assert terminal.screen[-1].endswith("etcd               2s   1/3 hosts  cp3: being changed")


def test_a_status_line_is_never_wider_than_the_terminal() -> None:
    terminal = Terminal()
    replay(terminal, [Event("run-start", 0.0, data={"phases": [f"phase{n}" for n in range(40)]}),
                      Event("phase-start", 0.0, phase="phase0", message="x" * 300)])
    assert max(len(line) for line in terminal.screen) < 80


def test_a_run_keeps_itself_alive_until_its_end_and_no_longer() -> None:
    terminal, others = Terminal(), threading.enumerate()        # other tests' runs may not have ended yet
    console = Console(terminal)
    for event in STORY[:4]:
        console(event)
    before, deadline = terminal.getvalue(), time.monotonic() + 30
    while len(terminal.getvalue()) < len(before) + 20 and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert len(terminal.getvalue()) > len(before), "the spinner turns by itself"
    console(STORY[-1])
    (keeper,) = [t for t in threading.enumerate() if t.name == "console" and t not in others] or [None]  # type: ignore[list-item]
    if keeper is not None:
        keeper.join(30)
        assert not keeper.is_alive()


def test_a_terminal_that_is_gone_does_not_end_the_thread_that_draws() -> None:
    stream = Terminal()
    console = Console(stream, alive=False)
    for event in STORY[:2]:
        console(event)
    stream.close()
    console.tick()


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("KUBEWRIGHT_PROGRESS", "plain"), ("TERM", "dumb"),
                                             ("NO_COLOR", "1")])
def test_a_terminal_is_plain_where_someone_asked_for_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert not is_plain(Terminal())
    monkeypatch.setenv(name, value)
    assert is_plain(Terminal())
    terminal = Terminal()
    replay(terminal, STORY)
    assert "\x1b" not in terminal.getvalue()


def test_colour_is_only_beside_a_sign_that_says_the_same() -> None:
    terminal = Terminal()
    replay(terminal, STORY)
    assert "\x1b[32m✓\x1b[0m pki" in terminal.getvalue()
    assert "\x1b[31m✗\x1b[0m node" in terminal.getvalue()


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


def test_events_of_many_threads_are_told_one_after_the_other() -> None:
    inside, most = [0], [0]

    def reader(event: Event) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.002)
        inside[0] -= 1

    write = to_all([reader])
    threads = [threading.Thread(target=lambda: [write(e) for e in STORY[:4]]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1]


def test_what_is_waited_for_outside_a_run_is_told_at_once() -> None:
    stream = io.StringIO()
    Console(stream)(Event("waiting", 1.0, phase="artifacts", message="building etcd"))
    assert stream.getvalue() == "  … artifacts      building etcd\n"


def test_an_event_of_a_type_unknown_to_the_console_is_passed_over() -> None:
    stream = io.StringIO()
    Console(stream)(Event("something-new", time.time(), message="later"))
    assert stream.getvalue() == ""


def test_a_reader_that_cannot_write_is_asked_no_more_and_nobody_who_tells_meets_the_fault() -> None:
    heard: list[Event] = []
    gone: list[str] = []

    def reader(event: Event) -> None:
        heard.append(event)
        if len(heard) == 2:
            raise BrokenPipeError

    emit = while_read(reader, lambda fault: gone.append("left"))
    for event in STORY[:4]:
        emit(event)
    assert (heard, gone) == (list(STORY[:2]), ["left"])


def test_what_a_host_says_takes_one_line_and_moves_nothing_on_the_terminal() -> None:
    terminal = Terminal()
    events = (*STORY[:2], Event("waiting", 2.0, phase="pki", host="cp1", message="two\nlines\x1b[2J"),
              Event("host-done", 3.0, phase="pki", host="cp1", status="failed", message="apt:\nno \x1b[31mroom"),
              Event("run-end", 4.0, status="failed"))
    replay(terminal, events)
    assert [" ".join(line.split()) for line in terminal.screen] == [
        "Run 20260101-000000-ab12", "cp1 failed apt: no [31mroom"]


BESIDE = (
    Event("run-start", 0.0, message="r", data={"phases": ["prepare", "stage", "pki"]}),
    Event("phase-start", 0.0, phase="prepare", message="packages"),
    Event("phase-start", 0.0, phase="stage", message="binaries"),
    Event("host-start", 0.0, phase="prepare", host="cp1", data={"changes": 1}),
    Event("host-start", 0.0, phase="stage", host="cp1", data={"changes": 2}),
    Event("waiting", 1.0, phase="stage", message="5 of 90 MB sent"),
    Event("phase-done", 25.0, phase="prepare", status="ok", seconds=25.0),
    Event("phase-done", 30.0, phase="stage", status="ok", seconds=30.0),
    Event("phase-start", 30.0, phase="pki", message="certificates"),
)


def test_phases_that_run_beside_one_another_have_a_line_each_and_those_that_have_not_begun_follow() -> None:
    terminal = Terminal()
    now = [0.0]
    console = Console(terminal, clock=lambda: now[0], alive=False)
    for event in BESIDE[:6]:
        console(event)
    now[0] = 5.0
    console.tick()
    assert [line.lstrip(" ⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏") for line in terminal.screen[-3:]] == [
        "prepare            5s   0/1 hosts  cp1: being changed",
        "stage              5s   0/1 hosts  cp1: 5 of 90 MB sent",
        "· pki"]


def test_off_a_terminal_a_long_silence_says_of_every_phase_that_runs_what_it_waits_for() -> None:
    stream = io.StringIO()
    replay(stream, BESIDE)
    assert stream.getvalue().splitlines()[1:5] == [
        "  … prepare           10s   0/1 hosts  cp1: being changed",
        "  … stage             10s   0/1 hosts  cp1: 5 of 90 MB sent",
        "  ✓ prepare          25.0s", "  ✓ stage            30.0s"]
