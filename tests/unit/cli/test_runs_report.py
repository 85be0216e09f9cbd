"""`runs report` and `runs diff`: what is asked for is found, and written for its owner alone."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from provisioner.cli.main import main
from tests.unit.compile.compile_fixture import LAB
from tests.unit.report.stories import CASES

FAILED, RENEWED = "20261125-165102-8e93", "20261125-181920-7c35"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Return an inventory with two recorded runs, and one directory of a read that has no events."""
    directory = tmp_path / "lab"
    directory.mkdir()
    (directory / "cluster.yaml").write_text(LAB)
    runs = directory / ".kubewright" / "runs"
    for name, run in (("a-gate-that-failed", FAILED), ("certificates-renewed", RENEWED)):
        place = runs / run
        place.mkdir(parents=True)
        shutil.copy(CASES / f"{name}.jsonl", place / "events.jsonl")
    (runs / "20261126-000000-0000").mkdir()
    return directory


def call(inventory: Path, *words: str) -> int:
    return main(["-i", str(inventory), "runs", *words])


def test_the_newest_run_is_reported_into_its_own_directory_and_the_path_is_told(
        inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(inventory, "report") == 0
    file = Path(capsys.readouterr().out.strip())
    assert file == inventory / ".kubewright" / "runs" / RENEWED / "report.html"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert RENEWED in file.read_text(encoding="utf-8")


def test_any_run_is_reported_wherever_one_wants_and_an_older_report_is_replaced(
        inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine.html"
    target.write_text("old")
    assert call(inventory, "report", "20261125-16", "--output", str(target)) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "kube-scheduler.service: active (running): exited 59 times" in target.read_text(encoding="utf-8")


def test_what_helps_can_be_pasted(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = inventory / ".kubewright" / "runs" / FAILED / "events.jsonl"
    events.write_text("".join(events.read_text().splitlines(keepends=True)[:5]))        # as where it was killed
    assert call(inventory, "report", FAILED) == 0
    page = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    assert f"<pre>kubewright -i {inventory} resume {FAILED}</pre>" in page


def test_where_nothing_can_be_written_the_place_is_named(inventory: Path, tmp_path: Path,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "not-there" / "x.html"
    assert call(inventory, "report", "--output", str(target)) == 64
    assert f"error: {target}: writing the report: No such file or directory" in capsys.readouterr().err


def test_two_runs_are_compared_as_text_or_as_values(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(inventory, "diff", FAILED) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [FAILED, RENEWED], "the second is the newest"
    assert any(line.split()[:5] == ["outcome", "failed", "in", "controllers", "done"] for line in lines)
    assert call(inventory, "diff", FAILED, RENEWED, "-o", "json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [run["id"] for run in document["runs"]] == [FAILED, RENEWED] and document["schema_version"] == 1


@pytest.mark.parametrize("words", [("report", "2027"), ("diff", "2027"), ("diff", FAILED, "2027")])
def test_a_run_that_is_not_there_is_a_usage_fault_that_says_how_to_list_them(
        inventory: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert call(inventory, *words) == 64
    assert capsys.readouterr().err == (
        "error: 2027: no run is called so\nonly runs of this machine have the events that are needed for this\n"
        f"hint: kubewright -i {inventory} runs list --here\ncode: run-unknown\n")


@pytest.mark.parametrize(("words", "why"), [
    ((RENEWED,), "there is no other run to compare it with"), ((FAILED, FAILED), "the same run twice")])
def test_a_run_is_not_compared_with_itself(
        inventory: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], why: str) -> None:
    assert call(inventory, "diff", *words) == 64
    assert capsys.readouterr().err.startswith(f"error: {words[0]}: {why}\n")
