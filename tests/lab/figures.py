"""What the lab tests measured: the raw samples, shown at the end of the run and kept where repetitions ran."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FIGURES: list[dict[str, Any]] = []


def record(name: str, values: Sequence[float], *, unit: str, limit: float | None = None, **more: Any) -> None:
    """Keep the samples of one measurement, whether or not they pass: call it before the assertion.

    `name` says what was measured, `unit` is that of `values` and of `limit`, the most that is promised; `more` is
    what a reader needs besides (how many attempts, who was hit), as JSON takes it.
    """
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0].removeprefix("tests/lab/")
    FIGURES.append({"name": name, "test": test, "unit": unit, "n": len(values), "limit": limit,
                    "median": round(statistics.median(values), 3) if values else None,
                    "min": round(min(values), 3) if values else None, "max": round(max(values), 3) if values else None,
                    "load": round(os.getloadavg()[0], 1), **more, "samples": [round(value, 3) for value in values]})


def line(figure: dict[str, Any]) -> str:
    """Return one measurement as a line for people: median, range, number of samples and what was promised."""
    if not figure["n"]:
        return f"{figure['name']}: nothing measured"
    unit, limit = figure["unit"], figure["limit"]
    seen = (f"{figure['median']:g} {unit}" if figure["n"] == 1 else
            f"median {figure['median']:g} {unit}, {figure['min']:g} to {figure['max']:g}, n={figure['n']}")
    promised = f" (at most {limit:g})" if limit is not None else ""
    return f"{figure['name']}: {seen}{promised}, load {figure['load']:g}"


def commit(directory: Path) -> str:
    """Return the commit that `directory` is at, or nothing outside of a checkout."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=directory, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return found.stdout.strip()[:12] if found.returncode == 0 else ""


def yardstick() -> dict[str, float]:
    """Return how fast this machine is now: seconds of the same three pieces of work, whatever our code is.

    The same machine has days on which it takes half as long again for everything; a figure of one day is compared
    with that of another by these.
    """
    began = time.perf_counter()
    sum(range(20_000_000))
    counted = time.perf_counter()
    memory = bytearray(1 << 29)         # 512 MiB: each page is touched for the first time
    touched = time.perf_counter()
    del memory
    before = time.perf_counter()
    for _ in range(100):
        subprocess.run(["true"], check=True)
    return {"count": round(counted - began, 3), "memory": round(touched - counted, 3),
            "processes": round(time.perf_counter() - before, 3)}


# Result under benchmarks/results -> the paths whose changes may move its figures, as git takes them.
_RUNS = ("provisioner/applier", "provisioner/compile", "provisioner/converge", "provisioner/decide",
         "provisioner/orchestrate", "provisioner/transport", "playbooks", "templates")
DEPENDS_ON: dict[str, tuple[str, ...]] = {
    "action_plugin_100_hosts.json": ("playbooks", "provisioner/converge", "benchmarks/action_plugin_100_hosts.py"),
    "command_start.json": ("provisioner/begin.py", "provisioner/cli", "provisioner/swift_end.py", "pyproject.toml"),
    "full.json": (*_RUNS, "inventories/lab"),
    "health_checks.json": ("templates/etc/haproxy", "benchmarks/health_checks.py"),
    "ill_members.json": ("templates/etc/haproxy", "templates/etc/systemd", "benchmarks/ill_members.py"),
    "kill_walk.json": _RUNS,
    "plan_500_hosts.json": ("provisioner/compile", "provisioner/model", "benchmarks/plan_500_hosts.py"),
    "scale.json": ("provisioner/compile", "provisioner/model", "provisioner/orchestrate/watch", "benchmarks/scale.py"),
    "snapshot.json": ("provisioner/lab", "benchmarks/snapshot.py"),
    "staging.json": ("provisioner/applier", "provisioner/decide/spreading.py",
                     "provisioner/orchestrate/phases/spreading.py", "provisioner/transport", "benchmarks/staging.py"),
    "ssh_cuts.json": _RUNS,
    "up.json": (*_RUNS, "inventories/lab", "benchmarks/up.py"),
}


def origin(directory: Path, result: str) -> dict[str, Any]:
    """Return what a result says of the code that it was measured of: the commit, and what the figures depend on."""
    return {"commit": commit(directory), "depends_on": list(DEPENDS_ON[result])}
