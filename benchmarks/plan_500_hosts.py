"""Seconds and memory to validate, compile and compare an inventory of 500 hosts: all of `plan` that is not the network.

    .venv/bin/python benchmarks/plan_500_hosts.py [--hosts 500] [--runs 5] [--out FILE]

Each run is a process of its own: imports, then cluster.yaml read and validated, the change rules, facts and observed
states as the hosts would have answered (made up before the clock starts), compile, comparison, stages and text. Three
states: empty machines, everything as desired, and one file edited by hand on every host. The limits are 5 s and 500 MB
for validate, compile and comparison of a cluster as desired; raw samples are written with processors, load and commit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
CASES = ("as-desired", "edited", "empty")
LIMIT_SECONDS, LIMIT_MB = 5.0, 500.0
NOW = 1_800_000_000.0
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAiUKfncuWSokX3LVyysFBQf4zzgKKxGumVZPqiKkGca"


def inventory_text(count: int) -> str:
    """Return a cluster.yaml with 3 control planes and `count` - 3 workers, labels and overrides among them."""
    lines = ["version: 1", "cluster: big", 'kubernetes: "1.36.3"', f"operators: [{KEY}]",
             f"network: {{hosts: [10.64.0.0/16], pods: [10.128.0.0/{14 if count <= 1000 else 12}], "
             "services: [10.96.0.0/16], plugin: flannel}",
             "api: {vip: 10.64.255.10, port: 8443}", "config: {kubelet: {maxPods: 120}}", "hosts:"]
    for number in range(1, count + 1):
        address = f"10.64.{number // 250}.{number % 250 + 1}"
        if number <= 3:
            lines.append(f"  cp{number}: {{address: {address}, roles: [etcd, control-plane, load-balancer]}}")
        else:
            extra = ", config: {kubelet: {maxPods: 60}}" if number % 10 == 0 else ""
            lines.append(f"  w{number}: {{address: {address}, roles: [worker], "
                         f"labels: {{topology.kubernetes.io/zone: z{number % 3}}}{extra}}}")
    return "\n".join(lines) + "\n"


class Cpu:
    """Adds up the processor time of blocks: what a busy machine's wall clock hides."""

    seconds = 0.0

    def __enter__(self) -> None:
        self._began = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time() - self._began


def one_run(count: int, case: str) -> dict[str, float]:
    """Measure one run in this process."""
    began = time.monotonic()
    from provisioner.compile.cluster import compile_cluster
    from provisioner.compile.diff import compare
    from provisioner.compile.rules import judge
    from provisioner.decide.schedule import stages
    from provisioner.model.applied import Applied, from_text
    from provisioner.model.load import load_cluster
    from provisioner.model.plan import Plan
    from provisioner.report.plan_text import plan_text
    from tests.unit.compile.compile_fixture import PUBLIC, SECRETS, facts_of, lock

    imported, cpu = time.monotonic(), Cpu()
    text = inventory_text(count)
    with cpu:
        cluster = load_cluster(text, "cluster.yaml")
    validated = time.monotonic()
    facts, artifacts = facts_of(cluster), lock()
    compiling = time.monotonic()
    with cpu:
        desired = compile_cluster(cluster, facts, artifacts, SECRETS, PUBLIC)
    compiled = time.monotonic()
    observed, certificates = made_up(desired, facts, case)
    comparing = time.monotonic()
    with cpu:
        changes = compare(desired, observed, certificates, NOW)
    compared = time.monotonic()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    plan = Plan("big", desired, changes, bootstrap=case == "empty")
    plan_text(replace(plan, stages=stages(plan)), cluster, seconds=1.0)
    told = time.monotonic()
    judge(from_text(Applied(cluster, artifacts).to_text()).cluster, cluster)
    seconds = {"import": imported - began, "validate": validated - imported, "compile": compiled - compiling,
               "compare": compared - comparing, "text": told - compared, "rules": time.monotonic() - told}
    seconds["validate_compile_compare"] = seconds["validate"] + seconds["compile"] + seconds["compare"]
    seconds["validate_compile_compare_cpu"] = cpu.seconds
    return {**{name: round(value, 3) for name, value in seconds.items()}, "max_rss_mb": round(rss, 1),
            "changes": len(changes), "items": sum(len(h.items) for h in desired.hosts.values())}


def made_up(desired: Any, facts: Any, case: str) -> Any:
    """Return what the hosts would have answered, and what their certificates say."""
    from provisioner.model.certificate import CertificateSeen
    from provisioner.model.desired import Certificate, File
    from provisioner.model.observed import HostObserved, ObservedItem

    observed, certificates = {}, {}
    for host in desired.hosts.values():
        items = {}
        for item in host.items if case != "empty" else ():
            state, extra = item.want(), {}
            if isinstance(item, Certificate):
                state = f"certificate sha256:aa key-ok {item.key_mode:04o} {item.owner}:{item.group}"
                certificates[host.name, item.path] = CertificateSeen(
                    item.common_name, item.organization, item.dns_names, item.ip_addresses, item.server, item.client,
                    NOW - 1, NOW + 31e6, item.ca)
            if isinstance(item, File) and item.secret is None:
                extra = {"text": str(item.content.encode(), "utf-8")}      # a copy, as the host's answer is
            if case == "edited" and item.path == "/var/lib/kubelet/config.yaml":
                state, extra = "file sha256:0 0600 root:root", {"text": item.content.replace("maxPods: ", "maxPods: 1")}
            items[item.kind, item.path] = ObservedItem(item.kind, item.path, str(state), extra)
        observed[host.name] = HostObserved(host.name, facts[host.name], items)
    return observed, certificates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "plan_500_hosts.json")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one_run(options.hosts, options.one)))
        return
    runs: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for _ in range(options.runs):
        for case in CASES:
            load = os.getloadavg()[0]
            done = subprocess.run([sys.executable, __file__, "--hosts", str(options.hosts), "--one", case],
                                  capture_output=True, text=True, check=True, timeout=300)
            runs[case].append({"load_before": round(load, 2), **json.loads(done.stdout)})
    from tests.lab.figures import origin

    names = ("validate", "compile", "compare", "validate_compile_compare", "validate_compile_compare_cpu", "text",
             "max_rss_mb")
    median = {case: {name: statistics.median(run[name] for run in of_case) for name in names}
              for case, of_case in runs.items()}
    result = {"command": f"benchmarks/plan_500_hosts.py --hosts {options.hosts} --runs {options.runs}",
              **origin(ROOT, "plan_500_hosts.json"), "nproc": os.cpu_count(),
              "date": time.strftime("%Y-%m-%d", time.gmtime()),
              "limits": {"seconds": LIMIT_SECONDS, "mb": LIMIT_MB}, "median": median, "runs": runs}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(median))
    worst = median["as-desired"]
    held = worst["validate_compile_compare"] <= LIMIT_SECONDS and worst["max_rss_mb"] <= LIMIT_MB
    sys.exit(0 if held else f"over the limits of {LIMIT_SECONDS} s and {LIMIT_MB} MB")


if __name__ == "__main__":
    main()
