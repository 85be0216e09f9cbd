"""A run that is stopped or killed can be looked at and gone on with, from here and from another machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.lab import faults
from tests.lab.machines import CONTROL_PLANES, Lab, until
from tests.lab.walk.table import pods

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
PHASE = "controllers"
LINE = re.compile(r"^  kube-scheduler: .*\n", re.MULTILINE)
IDS = ("systemctl", "show", "-p", "InvocationID", "--value", "kube-scheduler")


def first_host(lab: Lab, since: float, kind: str) -> str:
    """Return the first host of the phase that such an event tells of, "" while there is none."""
    return next((str(e["host"]) for e in lab.events(since) if e["type"] == kind and e["phase"] == PHASE), "")


def roll(lab: Lab, number: int) -> None:
    """Let the schedulers restart, one control plane after the other: nobody is served less meanwhile.

    By one line of the inventory, which is harmless to whoever comes after.
    """
    text = LINE.sub("", lab.file.read_text(encoding="utf-8"))
    line = f"  kube-scheduler: {{flags: {{kube-api-qps: {80 + number}}}}}\n"
    lab.file.write_text(text.replace("\nconfig:\n", f"\nconfig:\n{line}", 1), encoding="utf-8")


def rolling(lab: Lab, number: int, kind: str = "host-start") -> tuple[subprocess.Popen[str], str, float]:
    """Start a rolling change and return when its first host is that far: the process, that host, and since when."""
    roll(lab, number)
    since = time.time()
    process = lab.start("up", "--yes")
    host = until(lambda: first_host(lab, since, kind) or (process.poll() is not None and "ended"), 120, PHASE)
    assert host != "ended", process.communicate()[0]
    return process, host, since


def schedulers(lab: Lab) -> dict[str, str]:
    return {host: lab.on(host, *IDS).strip() for host in CONTROL_PLANES}


def run_id(lab: Lab, since: float) -> str:
    file = lab.newest_run(since)
    assert file
    return file.parent.name


def elsewhere(lab: Lab, directory: Path) -> Lab:
    """Return the inventory as another operator's machine has it: with its secrets, without any run."""
    other = Lab(directory, "elsewhere")
    shutil.copy(lab.file, other.file)
    state = directory / ".kubewright"
    state.mkdir(mode=0o700)
    for name in ("secrets", "known_hosts", "id_ed25519", "id_ed25519.pub"):
        place = lab.directory / ".kubewright" / name
        shutil.copytree(place, state / name) if place.is_dir() else shutil.copy(place, state / name)
    return other


@pytest.fixture
def mended(cluster: Lab) -> Iterator[Lab]:
    """The cluster, and afterwards its inventory as it was, word for word, and applied."""
    text = cluster.file.read_text(encoding="utf-8")
    yield cluster
    cluster.file.write_text(text, encoding="utf-8")
    cluster.run("up", "--yes")


@pytest.mark.full        # in memory: tests/unit/orchestrate/run/test_walk.py, tests/unit/cli/test_runs_verbs.py
def test_ctrl_c_stops_after_the_present_host_and_resume_does_the_rest(mended: Lab) -> None:
    before = schedulers(mended)
    process, host, since = rolling(mended, 1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    run, after = run_id(mended, since), schedulers(mended)
    assert process.returncode == 130, said
    assert f"Stopping after {host} (safe point). Press again to stop at once." in said
    untouched = [h for h in CONTROL_PLANES if h != host]
    assert f"Stopped. {', '.join(untouched)} not started." in said
    assert f"Continue: kubewright -i {mended.directory} resume {run}" in said
    assert [h for h in CONTROL_PLANES if after[h] != before[h]] == [host], said

    told = mended.run("resume", "--yes").stderr
    assert f"Run {run} by " in told and "interrupted" in told
    now = schedulers(mended)
    assert [h for h in CONTROL_PLANES if now[h] != after[h]] == untouched, "each restarted once, the first not again"
    assert mended.json("plan")["changes"] == []


@pytest.mark.full       # corrected since it last ran
def test_another_machine_sees_a_killed_run_on_the_hosts_and_goes_on_with_it(mended: Lab, tmp_path: Path) -> None:
    process, host, since = rolling(mended, 2)
    process.send_signal(signal.SIGINT)
    until(lambda: any(e["type"] == "stopping" for e in mended.events(since)), 10, "the first Ctrl-C is heard")
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and f"Stopped at once in {host}." in said, said
    assert time.monotonic() - asked < 15, "the second stops at once"

    process, host, since = rolling(mended, 3, "host-done")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    run, other = run_id(mended, since), elsewhere(mended, tmp_path / "elsewhere")
    rows = {row["id"]: row for row in other.json("runs", "list")["runs"]}
    assert (rows[run]["outcome"], rows[run]["here"], rows[run]["origin"]["verb"]) == ("unfinished", False, "up")
    assert done_in(other, run) == [host]
    told = other.run("resume", "--yes").stderr
    assert f"Run {run} by " in told and "unfinished" in told
    assert other.json("plan")["changes"] == []
    assert other.json("runs", "list")["runs"][0]["outcome"] == "done"


@pytest.mark.full
def test_a_worker_whose_cable_is_pulled_is_set_aside_and_retried_later(mended: Lab) -> None:
    for host in ("w1", "w2"):
        pods(mended, host, 4)
    since = time.time()
    process = mended.start("up", "--yes")
    until(lambda: any(e["type"] == "phase-start" and e["phase"] == "node" for e in mended.events(since)), 120, "node")
    with faults.cut_off(mended.inventory, "w1"):
        said, _ = process.communicate(timeout=500)
        assert process.returncode == 12, said
        assert "the run went on without: the other 4 hosts are done" in said
        assert f"hint: kubewright -i {mended.directory} retry --host w1" in said
        refused = mended.run("up", "--yes", check=False)
        assert refused.returncode == 12 and f"kubewright -i {mended.directory} up --without w1" in refused.stderr
        assert "Left out: w1" in mended.run("up", "--yes", "--without", "w1").stdout
    assert {c["host"] for c in mended.json("plan")["changes"]} == {"w1", "cp1", "cp2", "cp3"}, "and the record of it"
    mended.run("retry", "--yes", "--host", "w1")
    mended.run("up", "--yes")
    assert mended.json("plan")["changes"] == []


def done_in(lab: Lab, run: str) -> list[str]:
    """Return the hosts whose part of the phase is told to be done."""
    shown = lab.json("runs", "show", run)["run"]
    return [s["host"] for s in shown["steps"] if s["name"].startswith(f"{PHASE}.") and s["status"] == "done"]
