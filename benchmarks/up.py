"""Seconds from booted empty nodes to a healthy cluster, what they were waited for, and of the second `up` and `plan`.

    .venv/bin/python benchmarks/up.py [--runs 3] [--out benchmarks/results/up.json]

Each run: five fresh nodes of an instance of its own (`bench`), `up` (ends when all nodes are Ready, cluster DNS answers
on every node and every unit is current), `status`, a second `up`, a `plan`. Raw samples are written with what else
shaped them: processors, their speed on that day, load before each run, commit. Needs what scripts/lab needs, and the
artifacts in the cache.
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
sys.path.insert(0, str(ROOT))

from provisioner.report.critical import waited_for  # noqa: E402
from provisioner.report.story import story_of  # noqa: E402
from tests.lab.figures import origin, yardstick  # noqa: E402

SHIPPED = ROOT / "inventories" / "lab"
PLACE = ROOT / ".kubewright" / "bench"


def kubewright(*arguments: str) -> tuple[float, str]:
    """Run a verb and return its wall seconds and standard output; a failure ends the benchmark with its text."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "provisioner.cli.main", "-i", str(PLACE), *arguments], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return round(time.monotonic() - began, 2), done.stdout


def one_run() -> dict[str, Any]:
    """Measure one build of a cluster from empty nodes."""
    kubewright("lab", "reset")
    shutil.rmtree(PLACE / ".kubewright" / "secrets", ignore_errors=True)
    load = os.getloadavg()[0]
    seconds, events = kubewright("up", "--yes", "--events")
    told = [json.loads(line) for line in events.splitlines()]
    phases = {e["phase"]: round(e["seconds"], 2) for e in told if e["type"] == "phase-done"}
    status, _ = kubewright("status")
    second, _ = kubewright("up", "--yes")
    plan, text = kubewright("plan")
    return {"load_before": round(load, 2), "up": seconds, "phases": phases,
            "waited_for": waited_for(story_of("", told)), "status": status, "second_up": second, "plan": plan,
            "plan_said": text.splitlines()[0].split(".")[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "up.json")
    options = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    text = (SHIPPED / "cluster.yaml").read_text(encoding="utf-8")
    (PLACE / "cluster.yaml").write_text(text.replace("cluster: lab\n", "cluster: bench\n"), encoding="utf-8")
    shutil.copy(SHIPPED / "artifacts.lock", PLACE)
    speed = yardstick()
    kubewright("lab", "up")
    try:
        runs = [one_run() for _ in range(options.runs)]
    finally:
        kubewright("lab", "down")
    result = {
        "command": f"benchmarks/up.py --runs {options.runs}", **origin(ROOT, "up.json"), "nproc": os.cpu_count(),
        "yardstick": speed,
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "hosts": "3 control planes, 2 workers (systemd-nspawn)",
        "median": {key: statistics.median(run[key] for run in runs)
                   for key in ("up", "second_up", "plan", "status")},
        "runs": runs,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["median"]))


if __name__ == "__main__":
    main()
