"""What was walked: kept from run to run until every point is, and in the file of results that is committed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import ROOT
from tests.lab.figures import DEPENDS_ON

STATE = ROOT / ".kubewright" / "walked.json"
BEGAN = time.monotonic()


class Walk:
    """A list of points, each a test of its own; a run that is ended is taken up where it stopped."""

    def __init__(self, results: str, points: Sequence[str]) -> None:
        self._results = ROOT / "benchmarks" / "results" / results
        self._points = frozenset(points)

    def skip_walked(self, *points: str) -> None:
        """Skip what is walked already, and what would begin more than KUBEWRIGHT_WALK_SECONDS after the first."""
        if self._points.intersection(points) <= _walked():
            pytest.skip(f"walked already; remove {STATE} to begin anew")
        if time.monotonic() - BEGAN > float(os.environ.get("KUBEWRIGHT_WALK_SECONDS", "inf")):
            pytest.skip("left for the next run")

    def keep(self, point: str, row: dict[str, Any], *, passed: bool) -> None:
        """Write a point's row down; one that failed is walked again, and all are when the last one is walked."""
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        row = {"point": point, "passed": passed, **row, "load": round(os.getloadavg()[0], 1),
               "commit": commit.stdout.strip()[:12], "date": time.strftime("%Y-%m-%d", time.gmtime())}
        rows = _read(self._results, {}).get("points", [])
        rows = sorted([r for r in rows if r["point"] != point] + [row], key=lambda r: str(r["point"]))
        _write(self._results, {"command": "scripts/test --full", "depends_on": list(DEPENDS_ON[self._results.name]),
                               "nproc": os.cpu_count(), "points": rows})
        walked = _walked() - {point} | ({point} if passed else set())
        _write(STATE, sorted(walked - self._points if self._points <= walked else walked))


def _walked() -> set[str]:
    return set(_read(STATE, []))


def _read(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else otherwise


def _write(path: Path, document: Any) -> None:
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
