"""Looking on at a cluster of real nodes: a diary of its changes, and the page of `serve`, asked outside of the lab."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.machines import Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(600)]
PATIENCE = 180.0


def lines_until(process: subprocess.Popen[str], holds: Callable[[str], bool]) -> list[str]:
    """Read what a verb prints, line by line, until one is met; the whole of it is in the failure when none comes."""
    assert process.stdout is not None
    seen, end = [], time.monotonic() + PATIENCE
    while time.monotonic() < end:
        line = process.stdout.readline()
        seen.append(line)
        if not line or holds(line):
            break
    assert seen[-1] and holds(seen[-1]), "".join(seen)
    return seen


def ended(process: subprocess.Popen[str]) -> int:
    """Press Ctrl-C and return the exit code."""
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return process.returncode


@pytest.mark.dirties
def test_a_stopped_kubelet_is_told_once_when_it_stops_and_once_when_it_is_back(cluster: Lab) -> None:
    process = cluster.start("status", "--watch", "--every", "2s")
    try:
        lines_until(process, lambda line: line.startswith("Cluster ") and "   healthy   " in line)
        cluster.on("w1", "systemctl", "stop", "kubelet")
        lines_until(process, lambda line: line.startswith("Cluster ") and "needs attention" in line)
        lines_until(process, lambda line: "w1" in line and "kubelet" in line)
        cluster.on("w1", "systemctl", "start", "kubelet")
        lines_until(process, lambda line: line.startswith("Cluster ") and "   healthy   " in line)
        assert ended(process) == 0
    finally:
        process.kill()
        process.communicate()


def state(address: str, token: str) -> Any:
    request = urllib.request.Request(f"{address}state", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own, on loopback
        return json.load(answer)


def test_the_page_shows_the_cluster_to_who_has_the_token_and_no_secret_of_it(cluster: Lab) -> None:
    process = cluster.start("serve", "--for", "5m")
    try:
        (*_, line) = lines_until(process, lambda line: line.startswith("http://127.0.0.1:"))
        address, _, token = line.strip().partition("#")
        seen, end = state(address, token), time.monotonic() + PATIENCE
        while not seen["looked"] and time.monotonic() < end:
            time.sleep(0.5)
            seen = state(address, token)
        assert [h["host"] for h in seen["hosts"]] == ["cp1", "cp2", "cp3", "w1", "w2"]
        assert seen["healthy"] and not seen["error"] and len(seen["certificates"]) > 30
        assert "PRIVATE KEY" not in json.dumps(seen)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            state(address, token[:-1])
        assert ended(process) == 0
    finally:
        process.kill()
        process.communicate()
