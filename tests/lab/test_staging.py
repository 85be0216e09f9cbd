"""Files that several nodes lack: from node to node, past a firewall from here, and nothing serves beyond its run."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from provisioner.lab import cgroups
from tests.lab.figures import record
from tests.lab.machines import Lab, until
from tests.lab.moments import killed_when

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
WORKERS = ("w1", "w2")
LARGE = ("find", "/opt/kubewright", "-type", "f", "-size", "+8192k")


def lose(lab: Lab) -> dict[str, list[str]]:
    """Take the large files of the workers' stores away, and return their paths; what runs has them open."""
    paths = {host: sorted(lab.on(host, *LARGE).split()) for host in WORKERS}
    assert all(len(found) > 4 for found in paths.values())
    for host in WORKERS:
        lab.on(host, *LARGE, "-delete")
    return paths


def serving(lab: Lab) -> list[int]:
    """Return the processes on nodes that take part in a spreading (numbers of this machine)."""
    found = []
    for groups in cgroups.groups(lab.instance).values():
        for pid in cgroups.members(groups[0]) if groups else ():
            with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as words:    # noqa: PTH123
                if b"\0share\0" in words.read():
                    found.append(pid)
    return found


def staged(lab: Lab, began: float) -> tuple[str, list[str]]:
    """Return what the newest run says that it staged, and what it says beside it."""
    events = lab.events(began)
    (done,) = [e["message"] for e in events if e["type"] == "phase-done" and e["phase"] == "stage"]
    return done, [e["message"] for e in events if e["type"] == "diagnostic" and e.get("phase") == "stage"]


@pytest.mark.full        # on loopback in tests/unit/applier/test_share.py
def test_what_two_nodes_lack_goes_from_node_to_node_and_past_a_firewall_from_here(cluster: Lab) -> None:
    paths, began = lose(cluster), time.time()
    cluster.run("up", "--yes")
    said, odd = staged(cluster, began)
    assert "MB of it from host to host" in said and odd == []
    assert {host: sorted(cluster.on(host, *LARGE).split()) for host in WORKERS} == paths
    assert not serving(cluster)

    rules = "add table inet cut; add chain inet cut in { type filter hook input priority -10; }; " \
            "add rule inet cut in ip saddr { 10.77.0.21, 10.77.0.22 } tcp flags syn tcp dport 32768-60999 drop"
    for host in WORKERS:
        cluster.on(host, "nft", rules)
    try:
        lose(cluster)
        began = time.time()
        cluster.run("up", "--yes")
    finally:
        for host in WORKERS:
            cluster.on(host, "nft", "delete table inet cut")
    said, odd = staged(cluster, began)
    assert "from host to host" not in said
    assert any("no answer in time; what a host does not get from others it gets from here" in text for text in odd)
    assert {host: sorted(cluster.on(host, *LARGE).split()) for host in WORKERS} == paths
    assert cluster.json("plan")["changes"] == []


@pytest.mark.full
def test_nothing_that_serves_outlives_a_run_that_is_killed(cluster: Lab) -> None:
    paths = lose(cluster)
    killed_when(cluster, "nodes serve", lambda: len(serving(cluster)) >= 2, "up", "--yes", seconds=120, interval=0.02)
    killed = time.monotonic()
    until(lambda: not serving(cluster), 30, "what served has ended")
    record("seconds that a host serves on after its run was killed", [time.monotonic() - killed], unit="s", limit=30)
    cluster.run("up", "--yes")
    assert {host: sorted(cluster.on(host, *LARGE).split()) for host in WORKERS} == paths
    assert not [host for host in WORKERS if cluster.on(host, "find", "/opt/kubewright", "-name", "*kubewright-tmp*")]
