"""A figure on a page is of the code as it is, or the page says at which commit it was measured."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.figures import DEPENDS_ON

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OLD = 25        # commits to what a figure depends on, after which a page may no longer show it as today's
SEVERAL = "measured at several commits"     # a result of parts that were measured each at its own


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else ""


def commits_of(document: Any) -> set[str]:
    """Return the commits that a result names, its own or those of its parts."""
    if isinstance(document, dict):
        own = {str(document["commit"])} if document.get("commit") else set()
        return own.union(*(commits_of(part) for part in document.values() if isinstance(part, (dict, list))))
    return set().union(*(commits_of(part) for part in document)) if isinstance(document, list) else set()


def age(commit: str, paths: list[str]) -> int | None:
    """Return how many commits to these paths came after one; None for one that this history does not have."""
    if not git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"):
        return None
    return int(git("rev-list", "--count", f"{commit}..HEAD", "--", *paths))


def mark(commits: set[str]) -> str:
    return f"measured at `{min(commits)[:7]}`" if len(commits) == 1 else SEVERAL


def told_as_old(result: str, page: str, words: str) -> bool:
    """Say whether one paragraph of a page names the result and says of which code it is."""
    return any(result in block and words in " ".join(block.split()) for block in re.split(r"\n\s*\n", page))


def stale(results: dict[str, tuple[set[str], list[int | None]]], pages: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with the figures that pages show: result -> the commits it names, and the age of each."""
    for name, (commits, ages) in results.items():
        if all(one is not None and one <= OLD for one in ages):
            continue
        old = "of a commit that this history lacks" if None in ages else f"{max(a or 0 for a in ages)} changes old"
        for page, text in pages.items():
            if name in text and not told_as_old(name, text, mark(commits)):
                yield f"{page}: {name} is {old}: measure it anew, or say in a paragraph with its name: {mark(commits)}"


def mistaken(results: dict[str, set[str]], pages: dict[str, str]) -> Iterator[str]:
    """Yield the commits that pages name beside results of others: result -> the commits it names."""
    for page, text in pages.items():
        for block in re.split(r"\n\s*\n", text):
            of_block = set().union(*(commits for name, commits in results.items() if name in block))
            for said in re.findall(r"measured at `([0-9a-f]{7,40})`", " ".join(block.split())) if of_block else ():
                if not any(commit.startswith(said) for commit in of_block):
                    yield f"{page}: measured at {said}: no result that this paragraph names is of that commit"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_names_its_commit_and_what_it_depends_on(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert commits_of(document), "of which code is it?"
    assert document["depends_on"] == list(DEPENDS_ON[path.name])
    assert [p for p in document["depends_on"] if not (ROOT / p).exists()] == []


def test_no_page_shows_a_figure_that_is_older_than_the_code_it_speaks_of() -> None:
    if not git("rev-parse", "HEAD"):
        pytest.skip("no git history here, so nothing tells how old a figure is")
    if git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("only a part of the history is here: `git fetch --unshallow` brings the rest")
    results = {}
    for path in RESULTS:
        document = json.loads(path.read_text(encoding="utf-8"))
        commits = commits_of(document)
        results[path.name] = commits, [age(commit, document["depends_on"]) for commit in sorted(commits)]
    assert list(stale(results, {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in PAGES})) == []


def test_a_commit_beside_a_result_is_the_one_that_it_was_measured_at() -> None:
    results = {path.name: commits_of(json.loads(path.read_text(encoding="utf-8"))) for path in RESULTS}
    assert list(mistaken(results, {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in PAGES})) == []
    wrong = "`r.json`, measured\nat `0000000`\n\nsomething else, measured at `1111111`"
    assert list(mistaken({"r.json": {"abcdef1234"}}, {"p.md": wrong})) == [
        "p.md: measured at 0000000: no result that this paragraph names is of that commit"]


@pytest.mark.parametrize(("ages", "page", "found"), [
    ([OLD], "`r.json`: 3 s", 0),
    ([OLD + 1], "`r.json`: 3 s", 1),
    ([None], "`r.json`: 3 s", 1),
    ([OLD + 1], "nothing of it", 0),
    ([OLD + 1], "`r.json`: 3 s,\nmeasured at `abcdef1`", 0),
    ([OLD + 1], "`r.json`: 3 s\n\nanother is measured at `abcdef1`", 1),
    ([OLD + 1], "`r.json`: 3 s, measured at `0000000`", 1),
], ids=["fresh", "old", "unknown", "not shown", "marked", "marked elsewhere", "marked wrongly"])
def test_an_old_figure_is_named_until_the_page_says_of_which_commit_it_is(
        ages: list[int | None], page: str, found: int) -> None:
    assert len(list(stale({"r.json": ({"abcdef1234"}, ages)}, {"README.md": page}))) == found


def test_a_result_of_many_parts_is_as_old_as_its_oldest() -> None:
    results: dict[str, tuple[set[str], list[int | None]]] = {"r.json": ({"a", "b"}, [1, OLD + 1])}
    assert len(list(stale(results, {"README.md": "`r.json`"}))) == 1
    assert not list(stale(results, {"README.md": f"`r.json`, {SEVERAL}"}))
