"""`check --explain`, the page of checks and the schema of the report: from one table, complete, as published."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from provisioner.cli import main as command
from provisioner.model.check_document import check_schema
from provisioner.operate.checks import leftovers
from provisioner.operate.checks.explained import TEXTS, nearest, rows
from provisioner.operate.checks.table import CHECKS
from provisioner.transport import connection

ROOT = Path(__file__).resolve().parents[3]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run the command where there is no inventory, and leave this process as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_says_what_it_asks_how_why_and_how_to_mend(check: object) -> None:
    told = dict(rows(check))  # type: ignore[arg-type]
    assert set(told) - {"limits"} == {"asks for", "how", "why", "fix", "up"}
    assert all(len(text) > 5 and "  " not in text for text in told.values())


def test_explain_tells_all_of_one_check_and_needs_no_inventory(capsys: Capture) -> None:
    assert command.main(["check", "--explain", "swap"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "swap: no swap",
        "  how     /proc/swaps; /etc/fstab, swap units and the files of zram's makers for what brings it",
        "          back.",
        "  why     Limits of memory mean nothing to a Pod that is swapped out."]
    assert "".join(lines).count("turns it off") == 1
    assert max(map(len, lines)) <= 100


def test_explain_as_json_has_the_same_words(capsys: Capture) -> None:
    assert command.main(["-o", "json", "check", "--explain", "clock"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema_version"], document["name"], document["asks_for"]) == (1, "clock", "the clocks agree")
    assert "30 s is refused" in document["limits"]


@pytest.mark.parametrize(("word", "close"), [("swpa", "swap"), ("disks", "disk"), ("selinux-kernel", "kernel")])
def test_a_name_that_is_none_is_refused_with_the_nearest(capsys: Capture, word: str, close: str) -> None:
    assert command.main(["check", "--explain", word]) == 64
    error = capsys.readouterr().err
    assert f"there is no check {word}" in error
    assert close in error.split("did you mean")[1].splitlines()[0]


def test_a_name_that_is_like_none_is_refused_with_all(capsys: Capture) -> None:
    assert nearest("xyzzy", ["disk", "swap"]) == []
    assert command.main(["check", "--explain", "xyzzy"]) == 64
    assert "there are: ssh sudo python" in capsys.readouterr().err


def test_the_page_has_a_section_for_each_check_and_the_schema_is_the_published_one() -> None:
    page = (ROOT / "docs/reference/checks.md").read_text()
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [check.name for check in CHECKS]
    assert json.loads((ROOT / "docs/reference/check.schema.json").read_text()) == check_schema()


def test_schema_prints_that_of_each_document(capsys: Capture) -> None:
    for name, title in (("check", "CheckDocument"), ("plan", "PlanDocument")):
        assert command.main(["schema", name]) == 0
        schema = json.loads(capsys.readouterr().out)
        Draft202012Validator.check_schema(schema)
        assert title in json.dumps(schema)


def test_every_text_is_about_a_check() -> None:
    assert set(TEXTS) == {check.name for check in CHECKS}


def test_sessions_that_we_open_are_those_that_a_login_of_ours_has() -> None:
    assert leftovers.SESSIONS == connection.CHANNELS
