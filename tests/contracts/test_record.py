"""What scripts/record writes is what stood on the terminal: progress lines that were erased are gone, text is text."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "record"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("record", str(SCRIPT))
    spec = importlib.util.spec_from_loader("record", loader)
    assert spec is not None
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "record", module)      # its dataclass looks itself up there
    loader.exec_module(module)
    return module


def test_a_progress_line_that_was_erased_is_gone(record: ModuleType) -> None:
    screen = record.Screen()
    screen.write("$ kubewright up\r\n  one\r\n  waiting for cp1")
    screen.write("\r\x1b[J  \x1b[32m✓\x1b[0m stage  5 hosts\r\n")
    assert [text for _, text in screen.lines] == ["$ kubewright up", "  one", "  ✓ stage  5 hosts", ""]


def test_a_command_s_output_is_taken_from_its_terminal_with_its_exit_code(record: ModuleType) -> None:
    screen = record.Screen()
    code = record.run(screen, ["/bin/sh", "-c", "test -t 1 && echo 'a terminal: \"ü\" <&>'; exit 13"])
    assert (code, screen.lines[0][1]) == (13, 'a terminal: "ü" <&>')


def test_the_picture_is_whole_and_holds_every_line_as_text(record: ModuleType) -> None:
    screen = record.Screen()
    screen.write("$ kubewright up\n<script>alert(1)</script> & so on\n" + "x" * 200 + "\n")
    root = ET.fromstring(record.svg(screen))  # noqa: S314 - made here
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert texts[:2] == ["$ kubewright up", "<script>alert(1)</script> & so on"]
    assert texts[2:] == ["x" * record.COLUMNS, "x" * (200 - record.COLUMNS)]
    assert not list(root.iter(f"{SVG}script"))


def test_a_full_terminal_scrolls_to_its_last_line(record: ModuleType) -> None:
    screen = record.Screen()
    screen.write("".join(f"{number}\n" for number in range(record.ROWS + 5)))
    picture = record.svg(screen)
    assert f"translateY(-{5 * record.HIGH}px)" in picture
    assert ET.fromstring(picture) is not None  # noqa: S314 - made here
