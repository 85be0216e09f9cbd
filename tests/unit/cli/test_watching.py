"""`status --watch` on hosts in memory: what is printed where there is no screen, what is painted where there is one."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from provisioner.cli import watching
from provisioner.cli.status import lines
from provisioner.orchestrate.look.status import Status
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, drift, run, world  # noqa: F401 - fixtures

Script = Callable[..., None]


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Return a function that says what happens after each look; after the last one somebody presses Ctrl-C."""

    def script(*acts: Callable[[], object]) -> None:
        left = iter(acts)
        now = [0.0]

        def sleep(seconds: float) -> None:
            now[0] += 60.0          # the wait for the next look is over at once
            act = next(left, None)
            if act is None:
                raise KeyboardInterrupt
            act()

        monkeypatch.setattr(watching, "time", SimpleNamespace(
            sleep=sleep, monotonic=lambda: now[0], time=time.time, strftime=time.strftime))

    return script


def nothing() -> None:
    """Let nothing happen."""


def test_where_stdout_is_no_terminal_each_change_is_told_once(
        built: World, run: Run, between: Script) -> None:  # noqa: F811 - fixtures
    between(nothing, lambda: drift(built), nothing)
    ended = run("status", "--watch")
    looks = [line for line in ended.out.splitlines() if line.startswith("Cluster lab")]
    assert ["healthy" in looks[0], "needs attention" in looks[1], len(looks)] == [True, True, 2]
    assert "1 difference from the inventory" in ended.out
    assert "\x1b" not in ended.out


@pytest.mark.parametrize(("ill", "code"), [(False, 0), (True, 13)])
def test_ctrl_c_ends_it_with_the_exit_code_of_the_last_look(
        built: World, run: Run, between: Script, ill: bool, code: int) -> None:  # noqa: F811 - fixtures
    if ill:
        drift(built)
    between()
    assert run("status", "--watch").code == code


def test_programs_get_a_line_a_change(built: World, run: Run, between: Script) -> None:  # noqa: F811 - fixtures
    between(nothing, lambda: drift(built))
    documents = [json.loads(line) for line in run("-o", "json", "status", "--watch").out.splitlines()]
    assert [d["healthy"] for d in documents] == [True, False]
    assert {d["schema_version"] for d in documents} == {1}


def test_a_look_that_fails_is_told_and_the_next_may_succeed(
        built: World, run: Run, between: Script) -> None:  # noqa: F811 - fixtures
    names = list(built.hosts.hosts)

    def all_down(down: bool) -> None:
        for name in names:
            built.hosts.hosts[name].down = down

    all_down(True)
    between(lambda: all_down(False))
    ended = run("status", "--watch")
    assert ended.out.index("error: ") < ended.out.index("Cluster lab   healthy")
    assert ended.code == 0


def test_on_a_terminal_the_page_is_painted_over_and_fits_it(
        built: World, run: Run, between: Script, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 - fixtures
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "12")
    between(nothing)
    run("status", "--watch")
    paintings = screen.getvalue().split("\x1b[H")[1:]
    assert len(paintings) >= 4 and all(p.endswith("\x1b[J") for p in paintings)
    lines = [line for p in paintings for line in p.removesuffix("\x1b[J").replace("\x1b[K", "").splitlines()]
    assert max(map(len, lines)) == 60 and max(p.count("\n") for p in paintings) <= 11


def test_metrics_are_not_watched(built: World, run: Run) -> None:  # noqa: F811 - fixtures
    assert run("status", "-o", "openmetrics", "--watch").code == 64


@pytest.mark.parametrize("there", [True, False])
def test_nothing_that_hosts_said_moves_the_terminal(there: bool) -> None:
    moves = "\x1b[2J\x07"
    seen = Status("lab", "1.36.3", "ok", "-", moves, [], [moves, moves], 1.0, lock=moves, warnings=[moves], built=there,
                  snapshots=moves, trial=moves)
    told = list(lines(seen))
    assert all(line.isprintable() for line in told)
    assert sum("\\x1b[2J" in line for line in told) == (7 if there else 3)
