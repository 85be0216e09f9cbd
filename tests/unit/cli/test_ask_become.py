"""`--ask-become`: asked once, where a host needs it and nowhere else; told in no word that is printed."""

from __future__ import annotations

import io
import signal
import sys
from pathlib import Path

import pytest
import yaml

from provisioner.cli.context import Context
from provisioner.cli.main import main
from provisioner.cli.password import asker
from provisioner.errors import UsageFault
from provisioner.model.inventory import Inventory
from provisioner.transport.target import targets_of
from tests.fakes.session import operator_key, write_inventory


class Asked(io.StringIO):
    """A stdin that is a terminal: hidden prompts do not read it, but the terminal itself."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory whose hosts let in admin, who becomes root by sudo."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    write_inventory(tmp_path, operator_key(tmp_path / "operator"), key=tmp_path / "operator")
    return tmp_path


def inventory_with(directory: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> Inventory:
    """Return the inventory as a verb gets it that was called with these words."""
    seen: list[Context] = []

    def stop(context: Context) -> None:
        seen.append(context)
        raise UsageFault("far enough")

    monkeypatch.setattr(Context, "enter_lab", stop)
    assert main(["-i", str(directory), *words]) == 64
    assert ("--ask-become" in seen[0].command("up")) == ("--ask-become" in words)
    return seen[0].inventory


@pytest.mark.parametrize("words", [["--ask-become", "plan"], ["plan", "--ask-become"]], ids=["before", "after"])
def test_it_is_the_first_line_of_stdin_asked_for_once(
        directory: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    opened = inventory_with(directory, words, monkeypatch)
    monkeypatch.setattr(sys, "stdin", io.StringIO("of cp1\r\nyes\n"))
    for _ in range(2):
        assert {t.password for t in targets_of(opened).values()} == {"of cp1"}
    assert sys.stdin.readline() == "yes\n"
    assert "of cp1" not in repr(opened)


def test_a_host_where_we_are_root_already_gets_none(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = yaml.safe_load((directory / "cluster.yaml").read_text())
    document["hosts"]["cp1"]["ssh"] = {"user": "root"}
    (directory / "cluster.yaml").write_text(yaml.safe_dump(document))
    opened = inventory_with(directory, ["--ask-become", "plan"], monkeypatch)
    monkeypatch.setattr(sys, "stdin", io.StringIO("of the others\n"))
    passwords = {name: t.password for name, t in targets_of(opened).items()}
    assert len(passwords) > 1 and passwords.pop("cp1") is None
    assert set(passwords.values()) == {"of the others"}


def test_at_a_terminal_it_is_asked_for_unseen(
        directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    opened = inventory_with(directory, ["plan", "--ask-become"], monkeypatch)
    monkeypatch.setattr(sys, "stdin", Asked())
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda prompt: "typed")
    assert {t.password for t in targets_of(opened).values()} == {"typed"}
    assert "typed" not in "".join(capsys.readouterr())


def test_nobody_is_asked_where_all_are_root_or_nobody_said_so(
        directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert {t.password for t in targets_of(inventory_with(directory, ["plan"], monkeypatch)).values()} == {None}
    file = directory / "cluster.yaml"
    file.write_text(file.read_text().replace("user: admin", "user: root"))
    opened = inventory_with(directory, ["plan", "--ask-become"], monkeypatch)
    assert {t.password for t in targets_of(opened).values()} == {None}


@pytest.mark.parametrize("line", ["", "\n", "x" * 1025 + "\n"], ids=["end", "empty", "a file"])
def test_what_is_no_password_is_refused_before_a_host_is_asked(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    with pytest.raises(UsageFault) as caught:
        asker()()
    assert list(caught.value.details) == ["no host was contacted"]
    assert "x" * 20 not in caught.value.message
