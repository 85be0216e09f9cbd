"""What the page of verbs shows as their output is really said: each line stands among recorded ones."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "find-what-is-wrong.md"
RECORDED = [*(file for place in ("cases", "golden/doctor", "golden/report", "invalid", "unit")
              for file in (ROOT / "tests" / place).rglob("*") if file.suffix in (".txt", ".yaml", ".expected", ".py")),
            ROOT / "docs" / "reference" / "checks.md", ROOT / "provisioner" / "cli" / "bug.py"]


def shown(page: str) -> list[str]:
    """Return the last column of the page's table, which is what a verb tells."""
    return re.findall(r"\| `([^`]+)` \|$", page, re.MULTILINE)


def test_every_line_of_output_on_the_page_was_recorded() -> None:
    lines = shown(PAGE.read_text(encoding="utf-8"))
    recorded = "\n".join(file.read_text(encoding="utf-8") for file in RECORDED)
    assert len(lines) == 9
    assert [line for line in lines if line not in recorded] == []


def test_every_question_of_the_page_has_a_command_of_its_own() -> None:
    asked = re.findall(r"\| `(kubewright [^`]+)` \|", PAGE.read_text(encoding="utf-8"))
    assert len(set(asked)) == len(asked) == 8
