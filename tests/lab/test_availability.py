"""`probe` on real nodes: nothing fails while all is well, an outage is seen as what it is, and blindness as none."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.conftest import Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
FRONT = "w1"        # the first worker asks through the VIP
THROUGH_THE_VIP = {"vip", "read", "write", "update", "watch"}


def samplers(lab: Lab, host: str) -> dict[str, str]:
    """Return the sampler's processes on a host, from itself up to its SSH connection's: pid -> command."""
    table: dict[str, tuple[str, str]] = {}
    for line in lab.on(host, "ps", "-e", "-o", "pid=,ppid=,args=").splitlines():
        pid, parent, command = line.split(None, 2)
        table[pid] = (parent, command)
    chain: dict[str, str] = {}
    pid = next((p for p, (_, c) in table.items() if c.startswith("python3 ") and c.endswith(" sample")), "")
    while pid in table and not chain.get(pid):
        chain[pid] = table[pid][1]
        pid = table[pid][0]
    return chain


def has_told(lab: Lab, host: str) -> bool:
    """Say whether the sampler runs for so long that it has told something: it does so twice a second."""
    return any(int(lab.on(host, "ps", "-o", "etimes=", "-p", pid, check=False).strip() or 0) >= 3
               for pid in list(samplers(lab, host))[:1])


@contextmanager
def probing(lab: Lab, seconds: int) -> Iterator[dict[str, Any]]:
    """Probe for so long; the block runs once it has begun, and the dict holds the result after it."""
    process = subprocess.Popen(lab.argv("-o", "json", "probe", "--for", f"{seconds}s"), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    seen: dict[str, Any] = {}
    try:
        until(lambda: samplers(lab, FRONT) or process.poll() is not None, 60, "the sampler runs")
        yield seen
        out, err = process.communicate(timeout=seconds + 60)
    finally:
        process.kill()
    assert out, err
    seen |= json.loads(out) | {"exit": process.returncode}


def failed(seen: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Return the failures by series and host; each has a reason."""
    found = {(s["series"], s["host"]): s for s in seen["series"] if s["failures"]}
    assert all(sum(s["reasons"].values()) == s["failures"] for s in found.values())
    return {key: s["failures"] for key, s in found.items()}


def test_a_healthy_cluster_answers_every_attempt_and_keeps_every_write(cluster: Lab) -> None:
    seen = json.loads(cluster.run("-o", "json", "probe", "--for", "10s").stdout)
    assert (seen["failures"], seen["cuts"], seen["lost"]) == (0, 0, 0)
    by_name = {(s["series"], s["host"]): s["attempts"] for s in seen["series"]}
    assert by_name["vip", FRONT] >= 90
    assert all(by_name["local", host] >= 15 for host in ("cp1", "cp2", "cp3", "w1", "w2"))
    assert seen["writes"] >= 15
    keys = cluster.kubectl("get", "configmaps", "-n", "kubewright-prober", "-o", "name").split()
    assert sorted(keys) == ["configmap/beat", "configmap/kube-root-ca.crt"], "its keys are gone"


@pytest.mark.full        # counted in each run by test_crashes.py
def test_what_fails_when_an_api_server_is_killed_has_a_reason_and_nothing_is_lost(cluster: Lab) -> None:
    with probing(cluster, 10) as seen:
        cluster.on("cp2", "systemctl", "kill", "-s", "KILL", "kube-apiserver.service")
    assert seen["lost"] == 0
    assert seen["exit"] == (13 if failed(seen) else 0)


def test_a_blocked_port_is_a_failure_of_what_goes_through_it_and_of_nothing_else(cluster: Lab) -> None:
    with probing(cluster, 14) as seen:
        try:
            cluster.run("lab", "fault", "drop", FRONT, "--port", "8443")
            until(lambda: not samplers(cluster, FRONT), 60, "the probe ends")
        finally:
            cluster.run("lab", "fault", "undo")
    assert seen["exit"] == 13
    assert {"vip", "read", "write", "update"} <= {series for series, _ in failed(seen)} <= THROUGH_THE_VIP
    assert {host for _, host in failed(seen)} == {FRONT}
    assert next(s["gap_ms"] for s in seen["series"] if s["series"] == "vip") >= 5000
    assert set(seen["not_seen"]) == set()


@pytest.mark.full        # on a real sshd: tests/unit/transport/test_sampling.py
def test_a_killed_ssh_connection_is_not_seen_and_no_failure(cluster: Lab) -> None:
    with probing(cluster, 15) as seen:
        until(lambda: has_told(cluster, "w2"), 20, "w2 samples too")
        chain = samplers(cluster, "w2")
        ours = [pid for pid, command in chain.items() if command.startswith("sshd: admin")]     # not the listener
        cluster.on("w2", "kill", *ours, check=False)        # the second is its child, and may have died of the first's
        until(lambda: samplers(cluster, "w2").keys() - chain.keys(), 20, "it samples again")
    assert (seen["exit"], failed(seen), seen["lost"]) == (0, {}, 0)
    assert list(seen["not_seen"]) == ["w2"]
    assert "connection was lost" in seen["faults"]["w2"]
