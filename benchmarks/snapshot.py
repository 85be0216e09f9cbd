"""Seconds from `lab restore` to a healthy cluster: three control planes and two workers that stand on a snapshot.

    .venv/bin/python benchmarks/snapshot.py [--runs 5] [--out benchmarks/results/snapshot.json]

One cluster of an instance of its own (`bench`) is built and kept. Each run: `lab restore`, then `status` again and
again until it finds nothing to tell. Raw samples are written with what else shaped them. Needs what scripts/lab needs,
and the artifacts in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "inventories" / "lab"
PLACE = ROOT / ".kubewright" / "bench"
HEALTHY = 300.0


def kubewright(*arguments: str, check: bool = True) -> int:
    """Run a verb and return its exit code; a failure ends the benchmark with its text, unless it is asked about."""
    done = subprocess.run([sys.executable, "-m", "provisioner.cli.main", "-i", str(PLACE), *arguments], cwd=ROOT,
                          capture_output=True, text=True, timeout=900, check=False)
    if check and done.returncode:
        sys.exit(f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.returncode


def wait() -> None:
    end = time.monotonic() + HEALTHY
    while kubewright("status", check=False):
        if time.monotonic() > end:
            sys.exit(f"not healthy in {HEALTHY:.0f} s")
        time.sleep(0.1)


def one_run() -> dict[str, Any]:
    """Restore the snapshot and wait."""
    load, began = os.getloadavg()[0], time.monotonic()
    kubewright("lab", "restore", "bench")
    booted = time.monotonic()
    wait()
    return {"load_before": round(load, 2), "restore": round(booted - began, 2),
            "healthy": round(time.monotonic() - began, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "snapshot.json")
    options = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    text = (SHIPPED / "cluster.yaml").read_text(encoding="utf-8")
    (PLACE / "cluster.yaml").write_text(text.replace("cluster: lab\n", "cluster: bench\n"), encoding="utf-8")
    shutil.copy(SHIPPED / "artifacts.lock", PLACE)
    kubewright("lab", "down")
    shutil.rmtree(PLACE / ".kubewright" / "secrets", ignore_errors=True)
    kubewright("lab", "up")
    try:
        kubewright("up", "--yes")
        began = time.monotonic()
        kubewright("lab", "snapshot", "bench")
        taken = round(time.monotonic() - began, 2)
        wait()
        runs = [one_run() for _ in range(options.runs)]
    finally:
        kubewright("lab", "down")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    result = {
        "command": f"benchmarks/snapshot.py --runs {options.runs}", "commit": commit.strip(), "nproc": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "hosts": "3 control planes, 2 workers (systemd-nspawn)",
        "median": {key: statistics.median(run[key] for run in runs) for key in ("restore", "healthy")},
        "snapshot": taken, "runs": runs,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["median"]))


if __name__ == "__main__":
    main()
