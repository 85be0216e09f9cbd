"""What lab tests measured is kept wherever they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import figures


def test_figures_are_kept_without_a_commit_outside_of_a_checkout_or_without_git(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert figures.commit(tmp_path) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert figures.commit(tmp_path) == ""
