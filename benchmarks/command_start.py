"""Milliseconds until `--help` and `validate` answer: what a person waits for before anything is done.

    .venv/bin/python benchmarks/command_start.py [--runs 20] [--out FILE]

Each run is a process of its own, with Python's own start measured beside it. `--help` is promised in 150 ms of our own
time, so its limit is on the difference; raw samples are written with processors, load and commit.
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

from tests.lab.figures import origin  # noqa: E402

MAIN = "from provisioner.cli.main import run; run()"
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "help": [sys.executable, "-c", MAIN, "--help"],
    "validate": [sys.executable, "-c", MAIN,
                 "-i", "inventories/lab", "validate"],
}


def milliseconds(command: list[str]) -> float:
    """Run one command and return the wall-clock time it took."""
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "KUBEWRIGHT_INVENTORY": ""})
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Measure, print and, where asked, write the samples."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    load = os.getloadavg()[0]
    samples = {name: [round(milliseconds(command), 1) for _ in range(args.runs)] for name, command in COMMANDS.items()}
    for name, taken in samples.items():
        print(f"{name:<10} median {statistics.median(taken):.0f} ms, max {max(taken):.0f} ms of {len(taken)}")
    own = statistics.median(samples["help"]) - statistics.median(samples["python"])
    print(f"help, our own time: {own:.0f} ms (limit 150)")
    if args.out:
        args.out.write_text(json.dumps({"milliseconds": samples, "processors": os.cpu_count(), "load": round(load, 1),
                                        **origin(ROOT, "command_start.json")}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
