"""Every test file has a name of its own: pytest imports those outside of packages by their bare name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_no_two_test_files_outside_of_packages_have_one_name() -> None:
    bare = [file for file in TESTS.rglob("test_*.py") if not (file.parent / "__init__.py").exists()]
    assert len(bare) > 100
    assert [name for name, n in Counter(file.name for file in bare).items() if n > 1] == []
