"""Which lab tests run, and in what order: by what they need and leave, by shard, without what has passed already."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import figures

LEAVES = ("", "changes", "dirties")


@dataclass(frozen=True)
class Manners:
    """How a test gets on with others: what it leaves, to which group, and whether it bears what any group changed."""

    leaves: str = ""
    group: str = ""
    bears: bool = False


def rank(needs: str | None, test: Manners, topologies: Sequence[str]) -> tuple[int, int, bool, str]:
    """Return the place of a test: first those with nodes of their own or empty ones, then one topology after the other.

    In each, those that leave the cluster as it was come first, so they share it as it was built; those of a group,
    which do not mind each other's changes, stand together. Who bears any change comes after those who make them, and
    before the other tests that leave anything.
    """
    place = LEAVES.index(test.leaves)
    late = test.bears if test.leaves == "changes" else not test.bears
    return (topologies.index(needs) + 1 if needs else 0), place, late, test.group


def is_put_back(test: Manners, changed_by: str, *, is_dirty: bool) -> bool:
    """Say whether a test needs another cluster than what the tests before it have left."""
    return is_dirty or (not test.bears and changed_by not in ("", test.group))


def needs_snapshot(tests: Iterable[Manners]) -> bool:
    """Say whether one of a topology's tests, in their order, needs the cluster as it was before another."""
    changed_by, is_dirty = "", False
    for test in tests:
        if is_put_back(test, changed_by, is_dirty=is_dirty):
            return True
        is_dirty = test.leaves == "dirties"
        changed_by = test.group if test.leaves == "changes" else changed_by
    return False


def shard_files(files: Collection[str], shard: str) -> set[str]:
    """Return the files of a shard such as 2/3; raises ValueError for what is none. Each file is in exactly one."""
    number, of, count = shard.partition("/")
    if not (of and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise ValueError(f"--shard {shard}: not I/N with I from 1 to N, such as 1/3")
    return set(sorted(files)[int(number) - 1::int(count)])


def state_of_code(root: Path) -> str:
    """Return what tells one state of the code from another: the commit and what was edited since, but for results."""
    change = subprocess.run(["git", "diff", "HEAD", "--", ".", ":(exclude)benchmarks/results"], cwd=root,
                            capture_output=True, timeout=60, check=True).stdout
    return f"{figures.commit(root)} {hashlib.sha256(change).hexdigest()[:12]}"


class Passed:
    """The tests that passed in earlier runs of one state of the code; another state begins anew."""

    def __init__(self, file: Path, state: str) -> None:
        self._file = file
        self._state = state
        kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self.tests: set[str] = set(kept["passed"]) if kept.get("state") == state else set()

    def add(self, test: str) -> None:
        """Note that a test passed, before the next one begins."""
        self.tests.add(test)
        self._file.parent.mkdir(exist_ok=True, mode=0o700)
        document = {"state": self._state, "passed": sorted(self.tests)}
        temporary = self._file.with_name(f".{self._file.name}")
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self._file)

    def forget(self) -> None:
        """Begin anew the next time: all have passed."""
        self._file.unlink(missing_ok=True)
