"""What hosts try between them, on real nodes: a cluster that runs has nothing to tell, what is wrong is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from provisioner.applier.host import TRYING
from provisioner.operate.checks.by_trying import NAMES
from provisioner.parallel import ask_all
from tests.lab.conftest import NODES, Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(600)]
# Others' disk is this machine's: how quick it is, is no matter of this test.
DISK = "fsync"
LISTENING = "ss -Hltnu; cat /proc/[0-9]*/comm"


def tried(lab: Lab, *options: str) -> list[dict[str, Any]]:
    """Return what `check` found by letting hosts try."""
    done = lab.run("-o", "json", "check", "--skip", DISK, *options, check=False)
    assert done.returncode in (0, 11), done.stderr
    return [f for f in json.loads(done.stdout)["findings"] if f["check"] in NAMES]


@pytest.fixture
def netem(empty_lab: Lab) -> Iterator[None]:
    """Let whatever one of the control planes sends take 120 ms longer, while the test runs."""
    said = empty_lab.on("cp3", "sh", "-c", "tc qdisc add dev host0 root netem delay 120ms 2>&1; true")
    if "unknown" in said:
        pytest.skip("not run: this kernel has no netem (sch_netem)")
    assert not said, said
    yield
    empty_lab.on("cp3", "tc", "qdisc", "del", "dev", "host0", "root")


@pytest.mark.usefixtures("netem")
def test_a_member_far_away_is_named_with_its_latency(empty_lab: Lab) -> None:
    """Its neighbours' packets come at once, and its answers do not: a round trip is what both see."""
    (found,) = tried(empty_lab)
    assert (found["check"], found["severity"], found["host"]) == ("latency", "error", "cp3")
    assert found["saw"].startswith("a packet to cp1, cp2 and back takes 1"), found


def test_a_host_that_nobody_reaches_is_one_finding(empty_lab: Lab) -> None:
    install = "command -v nft || { apt-get -q update && apt-get -qy install nftables; }"
    empty_lab.on("w2", "sh", "-ec", install)
    rules = ("add table inet fw; add chain inet fw in { type filter hook input priority 0; }; "
             "add rule inet fw in ip saddr 10.77.0.11-10.77.0.21 drop")
    empty_lab.on("w2", "nft", rules)
    try:
        found = tried(empty_lab)
    finally:
        empty_lab.on("w2", "nft", "delete table inet fw")
    assert [(f["host"], f["check"]) for f in found] == [("w2", "reach")]
    assert found[0]["saw"].startswith("nothing passes between it and cp1, cp2, cp3, w1: timed out at tcp 10250"), found
    assert tried(empty_lab) == []


def test_a_cluster_that_runs_has_nothing_to_be_told_and_is_left_as_it_is(cluster: Lab) -> None:
    assert tried(cluster) == []
    done = cluster.run("check", "--probe", "--skip", DISK)
    assert "Probed 20 pairs of hosts, 74 ways between them" in done.stdout
    assert tried(cluster, "--probe") == []

    def left(host: str) -> bool:
        return TRYING in cluster.on(host, "sh", "-c", LISTENING)

    def some_left() -> bool:
        return any(ask_all(left, NODES, workers=len(NODES), name="left").values())

    until(lambda: not some_left(), 10, "nothing listens for tries")


def test_what_a_cluster_that_runs_loses_is_named_as_before_it_ran(cluster: Lab) -> None:
    """The overlay is tried by its own addresses then: the kernel has its port."""
    cluster.on("w1", "nft", "add table inet fw; add chain inet fw in { type filter hook input priority 0; }; "
               "add rule inet fw in udp dport 8472 drop; add rule inet fw in tcp dport 10250 ip saddr 10.77.0.11 drop")
    try:
        found = tried(cluster, "--probe")
    finally:
        cluster.on("w1", "nft", "delete table inet fw")
    assert {(f["host"], f["check"]) for f in found} == {("w1", "reach")}
    saw = " ".join(f["saw"] for f in found)
    assert "udp 8472 is reached by none of the 4" in saw and "tcp 10250 is not reached from cp1" in saw, saw
