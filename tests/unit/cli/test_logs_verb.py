"""`kubewright logs` as people and programs meet it; the host's half is made up."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.cli import main as command
from provisioner.operate.logs import Line
from provisioner.transport.pool import Pool
from tests.fakes.session import World

LINES = [Line(1764086400.25, "etcd", 7, 6, "ready to serve"), Line(1764086401.0, "etcd", 7, 3, "two\nlines\x1b[1m")]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        asked: list[dict[str, Any]]) -> Run:
    world = World.make(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["kubewright"])
    monkeypatch.setattr(Pool, "connection", lambda self, host, patient=True: SimpleNamespace(name=host))

    def read(connection: Any, unit: str, show: Callable[[Line], object], **more: Any) -> None:
        asked.append({"host": connection.name, "unit": unit, **more})
        for line in LINES:
            show(line)
        if more["follow"] or unit == "slow":
            raise KeyboardInterrupt

    monkeypatch.setattr("provisioner.operate.logs.read", read)

    def call(*words: str) -> tuple[int, str, str]:
        code = command.main(["-i", str(world.inventory.path), "logs", *words])
        return code, *capsys.readouterr()

    return call


def test_a_line_has_its_time_its_process_and_its_words_and_a_long_one_is_indented(run: Run) -> None:
    assert run("cp1", "etcd") == (0, (
        "2025-11-25T16:00:00.250Z etcd[7]: ready to serve\n"
        "2025-11-25T16:00:01.000Z etcd[7]: two\n    lines\\x1b[1m\n"), "")


def test_json_is_one_document_a_line(run: Run) -> None:
    _, out, _ = run("cp1", "etcd", "-o", "json")
    assert json.loads(out.splitlines()[0]) == {
        "schema_version": 1, "host": "cp1", "time": 1764086400.25, "process": "etcd", "pid": 7, "priority": 6,
        "message": "ready to serve"}


@pytest.mark.parametrize(("words", "lines", "since"), [
    ((), 50, ""), (("-n", "3"), 3, ""), (("--since", "10m"), None, "10m"), (("--since", "10m", "-n", "3"), 3, "10m")])
def test_the_newest_fifty_unless_told_otherwise(
        run: Run, asked: list[dict[str, Any]], words: tuple[str, ...], lines: int | None, since: str) -> None:
    run("cp1", "etcd", *words)
    assert asked == [{"host": "cp1", "unit": "etcd", "lines": lines, "since": since, "follow": False}]


def test_ctrl_c_is_the_end_of_a_log_that_is_followed_and_an_interruption_of_any_other(run: Run) -> None:
    assert run("cp1", "etcd", "-f")[0] == 0
    code, _, err = run("cp1", "slow")
    assert (code, err) == (130, "Stopped.\n")


def test_an_unknown_host_is_told_with_those_that_there_are(run: Run, asked: list[dict[str, Any]]) -> None:
    code, _, err = run("cp9", "etcd")
    assert (code, asked) == (64, [])
    assert err.startswith("error: the inventory has no host cp9\nhosts: cp1 cp2 cp3 w1 w2\nhint: kubewright -i ")
    assert err.endswith(" logs cp1 etcd\n")
