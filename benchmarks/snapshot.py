"""Seconds from a snapshot to a healthy cluster, as the lab tests get one: three control planes and two workers.

    .venv/bin/python benchmarks/snapshot.py [--runs 5] [--out benchmarks/results/snapshot.json]

One cluster of an instance of its own (`bench`) is built and kept by what does it for the tests. Each run: `restore`,
then what waits for the tests until it is healthy: in the end, `ready`. Raw samples are written with what else shaped
them. Needs what scripts/lab needs, and the artifacts in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.lab.clusters import GOLDEN, Ground  # noqa: E402
from tests.lab.figures import origin, yardstick  # noqa: E402
from tests.lab.machines import Lab  # noqa: E402
from tests.lab.selection import Manners  # noqa: E402


def one_run(ground: Ground) -> dict[str, Any]:
    """Restore the snapshot and wait."""
    load, began = os.getloadavg()[0], time.monotonic()
    ground.lab.run("lab", "restore", GOLDEN)
    booted = time.monotonic()
    ground.wait()
    return {"load_before": round(load, 2), "restore": round(booted - began, 2),
            "healthy": round(time.monotonic() - began, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "snapshot.json")
    options = parser.parse_args()
    ground = Ground(Lab(ROOT / ".kubewright" / "bench", "bench"))
    speed, began = yardstick(), time.monotonic()
    try:
        ground.give(Manners())
        built = time.monotonic()
        ground.keep()
        kept = time.monotonic()
        runs = [one_run(ground) for _ in range(options.runs)]
    finally:
        ground.end()
    result = {
        "command": f"benchmarks/snapshot.py --runs {options.runs}", **origin(ROOT, "snapshot.json"),
        "nproc": os.cpu_count(), "yardstick": speed,
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "hosts": "3 control planes, 2 workers (systemd-nspawn)",
        "median": {key: statistics.median(run[key] for run in runs) for key in ("restore", "healthy")},
        "built": round(built - began, 1), "kept": round(kept - built, 1), "runs": runs,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["median"]))


if __name__ == "__main__":
    main()
