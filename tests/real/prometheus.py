"""Prometheus and promtool as Debian packages them: this machine's, or unpacked from the package for tests alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".kubewright" / "prometheus"


def program(name: str) -> Path:
    """Return the program; the test is skipped where neither this machine nor its package sources have it."""
    here = shutil.which(name)
    if here:
        return Path(here)
    unpacked = KEPT / "usr" / "bin" / name
    if not unpacked.is_file():
        _unpack()
    return unpacked


def _unpack() -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["apt-get", "-q", "download", "prometheus"], cwd=KEPT, capture_output=True, text=True,
                          timeout=120, check=False)
    packages = sorted(KEPT.glob("prometheus_*.deb"))
    if done.returncode or not packages:
        pytest.skip(f"no Prometheus: neither installed nor among the package sources: {done.stderr.strip()[-200:]}")
    subprocess.run(["dpkg-deb", "--extract", packages[-1], KEPT], timeout=120, check=True)
