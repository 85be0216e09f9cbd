"""A changed flag reaches every control plane of a running cluster, one at a time. Last: it leaves the flags set."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.lab.conftest import Lab, unit_ids

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
CONTROL_PLANES = ("cp1", "cp2", "cp3")


def starts(lab: Lab, host: str, unit: str) -> list[float]:
    """Return when systemd began to stop or start the unit, and when it was up: seconds since 1970, in pairs."""
    lines = lab.on(host, "journalctl", "-u", unit, "--no-pager", "-o", "short-unix").splitlines()
    return [float(re.split(r"[ ]", line, maxsplit=1)[0]) for line in lines
            if f"Stopping {unit}" in line or f"Started {unit}" in line]


def test_a_changed_flag_is_rolled_over_the_control_planes_one_at_a_time(cluster: Lab) -> None:
    units = ("etcd.service", "kube-apiserver.service")
    before = {(h, u): starts(cluster, h, u) for h in CONTROL_PLANES for u in units}
    workers = unit_ids(cluster, ("w1", "w2"))
    text = cluster.file.read_text(encoding="utf-8")
    flags = "config:\n  etcd: {flags: {snapshot-count: 9000}}\n  kube-apiserver: {flags: {event-ttl: 2h0m0s}}\n"
    cluster.file.write_text(text.replace("config:\n", flags), encoding="utf-8")
    cluster.run("up", "--yes")
    for unit in units:
        down = sorted(tuple(starts(cluster, h, unit)[len(before[h, unit]):]) for h in CONTROL_PLANES)
        assert all(len(pair) == 2 for pair in down), f"{unit}: stopped and started once on each host: {down}"
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(down)), f"{unit}: overlap: {down}"
    assert unit_ids(cluster, ("w1", "w2")) == workers
    assert cluster.json("plan")["changes"] == []
    assert cluster.json("status")["healthy"]
