"""A host below a temporary directory: real files, a fake systemd found through PATH."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.unit.applier.support import STAMP, FakeHost

HERE = Path(__file__).parent


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A fake host, its commands first in PATH."""
    root, systemd, programs = tmp_path / "root", tmp_path / "systemd", tmp_path / "bin"
    for place in (root, systemd, programs):
        place.mkdir()
    for name in ("systemctl", "systemd-run"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {HERE / "fake_systemd.py"} {name} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SYSTEMD", str(systemd))
    monkeypatch.setenv("FAKE_ROOT", str(root))
    monkeypatch.setenv("FAKE_STAMP", str(STAMP))
    return FakeHost(root, systemd)
