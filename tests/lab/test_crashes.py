"""A control plane's process that dies or hangs is hardly felt: counted on new connections through the VIP."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterator

import pytest

from provisioner.compile import pki
from provisioner.lab import faults
from provisioner.model.ports import ETCD_CLIENT
from tests.lab.figures import record
from tests.lab.hostside import api_servers_are_ready, remote
from tests.lab.load import LEDGER, VIP, Load, longest_gap, lost_writes, reads, writes
from tests.lab.machines import ADDRESSES, Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

BEFORE = 2.0        # seconds of load before a fault
AFTER = 10.0        # and after it: until the process is back in service


def crash(lab: Lab, host: str, unit: str) -> None:
    lab.on(host, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit)


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.full)])
def test_a_killed_api_server_costs_at_most_one_new_connection(cluster: Lab, times: int) -> None:
    failed, attempts = [], 0
    for host in itertools.islice(itertools.cycle(ADDRESSES), times):
        api_servers_are_ready(cluster)
        with Load(cluster, "w1", [reads(VIP)]) as load:
            load.run_until_brisk(VIP, BEFORE)
            crash(cluster, host, "kube-apiserver.service")
            load.run_until(load.seconds() + AFTER)
        failed.append(load.failed(VIP))
        attempts += len(load.of(VIP))
    record("new connections that fail when an API server is killed", [float(len(f)) for f in failed], unit="failed",
           limit=1, attempts=attempts, failures=[[vars(a) for a in f] for f in failed if f])
    assert attempts >= 0.9 * 10 * (BEFORE + AFTER) * times
    assert all(len(f) <= 1 for f in failed), failed


@pytest.mark.parametrize(("times", "seconds"), [(1, 10.0), pytest.param(10, 30.0, marks=pytest.mark.full)])
def test_an_api_server_that_hangs_costs_at_most_three_new_connections(cluster: Lab, times: int, seconds: float) -> None:
    failed, attempts = [], 0
    for host in itertools.islice(itertools.cycle(ADDRESSES), times):
        api_servers_are_ready(cluster)
        with Load(cluster, "w1", [reads(VIP, timeout=2.0)]) as load:
            load.run_until(BEFORE)
            with faults.paused(cluster.inventory, host, "kube-apiserver"):
                load.run_until(load.seconds() + seconds)
            load.run_until(load.seconds() + AFTER)
        failed.append(load.failed(VIP))
        attempts += len(load.of(VIP))
    record("new connections that fail or take 2 s when an API server hangs", [float(len(f)) for f in failed],
           unit="failed", limit=3, attempts=attempts, failures=[[vars(a) for a in f] for f in failed if f])
    assert attempts >= 0.9 * 10 * (BEFORE + seconds + AFTER) * times
    assert all(len(f) <= 3 for f in failed), failed


def etcd_leader(lab: Lab) -> str:
    """Return the host whose member leads."""
    endpoints = ",".join(f"https://{address}:{ETCD_CLIENT}" for address in ADDRESSES.values())
    said = remote(lab, "cp1", [
        "etcdctl", f"--endpoints={endpoints}", f"--cacert={pki.ETCD_CA}", f"--cert={pki.ETCD_HEALTH.path}",
        f"--key={pki.ETCD_HEALTH.key_path}", "endpoint", "status", "-w", "json"])
    leads = {by_address(one["Endpoint"]) for one in json.loads(said)
             if one["Status"]["leader"] == one["Status"]["header"]["member_id"]}
    assert len(leads) == 1, said
    return leads.pop()


def by_address(endpoint: str) -> str:
    return next(host for host, address in ADDRESSES.items() if f"//{address}:" in endpoint)


@pytest.fixture
def ledger(cluster: Lab) -> Iterator[Lab]:
    cluster.kubectl("create", "namespace", LEDGER)
    yield cluster
    cluster.kubectl("delete", "namespace", LEDGER, "--wait=true", timeout=300)


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.full)])
def test_a_killed_etcd_leader_keeps_writes_waiting_for_a_moment_and_loses_none(ledger: Lab, times: int) -> None:
    gaps, lost, number = [], set(), 0
    for _ in range(times):
        api_servers_are_ready(ledger)
        leader = etcd_leader(ledger)
        writer = next(host for host in ADDRESSES if host != leader)
        with Load(ledger, writer, [writes(number)]) as load:
            load.run_until(BEFORE)
            crash(ledger, leader, "etcd.service")
            load.run_until(load.seconds() + AFTER)
        found = load.of("writes")
        number = 1 + max(a.number for a in found if a.number is not None)
        gaps.append(longest_gap(found))
        lost |= lost_writes(ledger, found)
        assert etcd_leader(ledger) != leader or times > 1
    record("longest time without an acknowledged write when the etcd leader is killed", gaps, unit="s", limit=2.5,
           writes=number, lost=len(lost))
    assert not lost
    assert times == 1 or statistics.median(gaps) <= 1.5
    assert max(gaps) <= 2.5
