"""What large clusters cost this machine: the prober's composing at 500 hosts, and `plan` without the network at 2,000.

    .venv/bin/python benchmarks/scale.py [--runs 5] [--out FILE]

Hosts are made up as in plan_500_hosts.py, each run is a process of its own. `compose` is the processor time to choose
which hosts measure and to write what each of them asks; `compose_all` is what it would be if every host measured. The
limits are 1 s of processor time for `compose_all` at 500 hosts, and 6 s for validate, compile and comparison at 2,000,
by the clock on a quiet machine and by processor time on any. Raw samples are written with load and commit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
COMPOSING, PLANNING = 500, 2000
LIMIT_COMPOSE, LIMIT_PLAN = 1.0, 6.0


def composing(count: int) -> dict[str, float]:
    """Measure in this process what the prober does before it begins, for the sample and for all hosts."""
    from benchmarks.plan_500_hosts import Cpu, inventory_text
    from provisioner.decide.sample import measuring
    from provisioner.model.load import load_cluster
    from provisioner.orchestrate.watch.prober import Questions

    cluster = load_cluster(inventory_text(count), "cluster.yaml")
    names, sample, every = [h.name for h in cluster.machines], Cpu(), Cpu()
    with sample:
        hosts = measuring(cluster, names)
        questions = Questions(cluster, hosts, "run")
        asked = sum(len(questions.of(host, "bearer")) for host in hosts)
    with every:
        of_all = Questions(cluster, names, "run")
        asked_of_all = sum(len(of_all.of(host, "bearer")) for host in names)
    return {"compose": round(sample.seconds, 4), "hosts": len(hosts), "series": asked,
            "compose_all": round(every.seconds, 4), "series_all": asked_of_all}


def measured(*arguments: str) -> dict[str, float]:
    load = os.getloadavg()[0]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=900)
    return {"load_before": round(load, 2), **json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "scale.json")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(composing(COMPOSING)))
        return
    compose = [measured(__file__, "--one") for _ in range(options.runs)]
    plan = [measured(str(ROOT / "benchmarks" / "plan_500_hosts.py"), "--hosts", str(PLANNING), "--one", "as-desired")
            for _ in range(options.runs)]
    from tests.lab.figures import origin

    median = {
        "compose": {name: statistics.median(run[name] for run in compose) for name in ("compose", "compose_all")},
        "plan": {name: statistics.median(run[name] for run in plan) for name in (
            "validate", "compile", "compare", "validate_compile_compare", "validate_compile_compare_cpu",
            "max_rss_mb")}}
    result = {"command": f"benchmarks/scale.py --runs {options.runs}", **origin(ROOT, "scale.json"),
              "nproc": os.cpu_count(), "date": time.strftime("%Y-%m-%d", time.gmtime()),
              "hosts": {"compose": COMPOSING, "plan": PLANNING},
              "limits": {"compose": LIMIT_COMPOSE, "plan": LIMIT_PLAN}, "median": median,
              "runs": {"compose": compose, "plan": plan}}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(median))
    held = (median["compose"]["compose_all"] <= LIMIT_COMPOSE
            and median["plan"]["validate_compile_compare_cpu"] <= LIMIT_PLAN)
    sys.exit(0 if held else f"over the limits of {LIMIT_COMPOSE} s and {LIMIT_PLAN} s")


if __name__ == "__main__":
    main()
