"""What HAProxy's checks cost an API server: processor time of one check, with the programs that hosts run.

    .venv/bin/python benchmarks/health_checks.py [--out benchmarks/results/health_checks.json]

Three members of etcd and one API server on loopback; a HAProxy with cp1's configuration, whose three servers all are
that API server and whose interval is short, checks it. Taken is the processor time of the API server's process, in turn
with and without the checks; how many checks there were says the API server itself. At last it counts what one host of
500 asks. Needs root, haproxy, openssl, and the artifacts in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.ill_members import Port, Site  # noqa: E402
from provisioner.compile.load_balancer import CHECK_CPU  # noqa: E402
from tests.lab.figures import origin  # noqa: E402
from tests.real.test_real_haproxy import GOLDEN_CONFIG, NAMES, Balancer, wait  # noqa: E402
from tests.unit.compile.test_compile_intervals import cluster_of, config_of  # noqa: E402

WATCHED = 20.0
ROUNDS = 5
INTER = "60ms"      # three servers: some 50 checks a second
HOSTS = 500
COUNTED = 160.0     # seconds, ten checks of each server as one host of HOSTS makes them
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Return the processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def checks(site: Site, port: int) -> int:
    """Return how often the API server was asked for /readyz, by its own count."""
    import http.client

    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=site.tls)
    site.tls.check_hostname = False
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = re.findall(r'^apiserver_request_total\{[^}]*"/readyz"[^}]*\} (\S+)$', text, re.MULTILINE)
    return int(sum(float(value) for value in found))


def spent(site: Site, pid: int, port: int, watched: float = WATCHED) -> tuple[float, int, float]:
    """Return seconds of processor, checks, and seconds that went by while one waits."""
    before, asked, began = cpu(pid), checks(site, port), time.monotonic()
    time.sleep(watched)
    return cpu(pid) - before, checks(site, port) - asked, time.monotonic() - began


def measure(directory: Path, stack: ExitStack) -> tuple[list[dict[str, Any]], float]:
    """Return the rounds, and how many checks a second one host of HOSTS makes of an API server."""
    site = Site(directory)
    stack.callback(site.close)
    for name in NAMES:
        site.start(f"etcd {name}")
    site.start("kube-apiserver cp1")
    port, pid = site.ports["cp1"], site.pid("kube-apiserver cp1")
    text = re.sub(r"\binter 1s fastinter 250ms", f"inter {INTER} fastinter {INTER}", GOLDEN_CONFIG.read_text())
    servers: Any = {name: Port(port) for name in NAMES}

    def checked(text: str, watched: float = WATCHED) -> tuple[float, int, float]:
        with ExitStack() as running:
            balancer = Balancer(directory, servers, text=text)
            running.callback(balancer.close)
            wait(lambda: set(balancer.states().values()) == {"2"}, "the API server is ready", 240)
            return spent(site, pid, port, watched)

    checked(text)       # not counted: an API server has much to do in its first seconds
    found = []
    for number in range(ROUNDS):
        busy, asked, seconds = checked(text)
        idle, _, without = spent(site, pid, port)
        each = (busy - idle * seconds / without) / asked
        found.append({"checks": asked, "seconds": round(seconds, 1), "cpu": round(busy, 2), "idle_cpu": round(idle, 2),
                      "ms_each": round(1000 * each, 3), "load": round(os.getloadavg()[0], 1)})
        print(f"round {number + 1}: {asked / seconds:.0f} checks a second, {1000 * each:.2f} ms each", flush=True)
    _, asked, seconds = checked(config_of(cluster_of(HOSTS), "w1"), COUNTED)
    return found, asked / seconds / len(NAMES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "health_checks.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="health-checks-") as place, ExitStack() as stack:
        found, rate = measure(Path(place), stack)
    median = statistics.median(row["ms_each"] for row in found)
    core = HOSTS * rate * median / 1000
    options.out.write_text(json.dumps({
        "command": "benchmarks/health_checks.py", **origin(ROOT, "health_checks.json"), "nproc": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "median_ms": median, "reckoned_with_ms": 1000 * CHECK_CPU,
        "hosts": HOSTS, "checks_a_second_of_one_host": round(rate, 4), "core": round(core, 4), "rounds": found},
        indent=1) + "\n", encoding="utf-8")
    print(f"median {median:.2f} ms; {HOSTS} hosts: {HOSTS * rate:.0f} checks a second, {100 * core:.1f} % of a core")


if __name__ == "__main__":
    main()
