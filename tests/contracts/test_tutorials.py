"""Each block of commands in a tutorial says which test runs it, or why none does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"(?:<!-- (run by|not run): (.*?) -->\n)?```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return [(found[1] or "", found[2] or "", found[3]) for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_block_is_run_or_says_why_not(page: Path) -> None:
    assert [text for how, _, text in blocks(page) if not how] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_test_that_runs_a_block_is_there_and_reads_this_page(page: Path) -> None:
    for how, what, _ in blocks(page):
        if how == "run by":
            file, _, name = what.partition("::")
            text = (ROOT / file).read_text(encoding="utf-8")
            assert f"def {name}(" in text and page.name in text, what


def test_a_third_of_the_blocks_is_run_as_it_stands() -> None:
    found = [how for page in PAGES for how, _, _ in blocks(page)]
    assert found.count("run by") >= len(found) / 3, found
