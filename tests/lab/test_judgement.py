"""One judgement of a running cluster: `status`, `ready`, the last gate of `up` and its leave to begin say the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from provisioner.compile.etcd import ETCDCTL
from tests.lab.machines import CONTROL_PLANES, Lab, unit_ids, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]
SSHD = "/etc/ssh/sshd_config.d/00-hard.conf"
W1 = "w1: {address: 10.77.0.21, roles: [worker]}"
FULL = "fills-etcd"


def look(lab: Lab) -> tuple[int, dict[str, Any]]:
    """Return the exit code of `status` and what it says."""
    done = lab.run("-o", "json", "status", check=False)
    return done.returncode, json.loads(done.stdout)


def ready(lab: Lab) -> subprocess.CompletedProcess[str]:
    return lab.run("ready", "--timeout", "5", check=False)


@pytest.fixture
def mended(cluster: Lab) -> Iterator[Lab]:
    """Return the cluster, which in the end is what its inventory was when the test began, and healthy."""
    text = cluster.file.read_bytes()
    yield cluster
    cluster.file.write_bytes(text)
    cluster.run("up", "--yes")
    cluster.run("ready", "--timeout", "120")


def configure(lab: Lab, was: str, now: str) -> None:
    text = lab.file.read_text(encoding="utf-8")
    assert was in text
    lab.file.write_text(text.replace(was, now, 1), encoding="utf-8")


@pytest.fixture
def closed(cluster: Lab) -> Iterator[Lab]:
    """Return the cluster while sshd of its control planes forbids forwarding."""
    for host in CONTROL_PLANES:
        cluster.on(host, "sh", "-c", f"echo 'AllowTcpForwarding no' > {SSHD} && systemctl reload ssh")
    yield cluster
    for host in CONTROL_PLANES:
        cluster.on(host, "sh", "-c", f"rm {SSHD} && systemctl reload ssh")
    cluster.run("ready", "--timeout", "60")


@pytest.mark.full        # such an sshd: tests/unit/transport/test_tunnel.py; what is said: .../gates/test_health.py
def test_where_sshd_forbids_forwarding_the_cluster_is_not_seen_and_nothing_is_said_to_be_lost(closed: Lab) -> None:
    code, seen = look(closed)
    assert (code, seen["healthy"], seen["quorum"]) == (13, False, "not seen")
    rows = {row["host"]: row for row in seen["hosts"]}
    assert {(rows[h]["etcd"], rows[h]["kubelet"], rows[h]["api"]) for h in CONTROL_PLANES} == {("?", "?", "ok")}
    assert len(seen["attention"]) == 1, seen["attention"]
    (line,) = seen["attention"]
    assert line.startswith("cp1, cp2, cp3: ") and "sshd forbids forwarding" in line
    done = ready(closed)
    assert done.returncode == 13 and "sshd forbids forwarding" in done.stderr
    for verb in (["plan"], ["up", "--yes"]):
        refused = closed.run(*verb, check=False)
        assert refused.returncode in (11, 12), refused.stderr
        assert "forbids forwarding" in refused.stderr and "to add" not in refused.stdout + refused.stderr


@pytest.fixture
def deaf(mended: Lab) -> Iterator[Lab]:
    """Return the cluster while no load balancer hears another's VRRP; in the end they do."""
    rules = ("add table inet deaf; add chain inet deaf in { type filter hook input priority -10; }; "
             "add rule inet deaf in ip protocol 112 drop")
    for host in CONTROL_PLANES:
        mended.on(host, "nft", rules)
    yield mended
    for host in CONTROL_PLANES:
        mended.on(host, "nft", "delete table inet deaf")


@pytest.mark.full
def test_where_vrrp_is_not_let_through_up_does_not_end_well_and_all_name_it(deaf: Lab) -> None:
    words = "keepalived of cp2 does not hear cp1"
    until(lambda: words in str(look(deaf)[1]["attention"]), 60, "several hosts hold the VIP", interval=1.0)
    configure(deaf, W1, "w1: {address: 10.77.0.21, roles: [worker], config: {kubelet: {maxPods: 77}}}")
    done = deaf.run("up", "--yes", check=False)
    print(done.stderr)
    assert done.returncode == 13, done.stderr
    waiting = ready(deaf)
    print(waiting.stderr)
    assert waiting.returncode == 13
    for said in (done.stderr, waiting.stderr, str(look(deaf)[1]["attention"])):
        assert words in said and "VRRP (IP protocol 112)" in said


@pytest.mark.full
def test_a_full_etcd_is_named_nothing_is_restarted_and_the_documented_cure_works(mended: Lab) -> None:
    lab = mended
    configure(lab, "config:\n", "config:\n  etcd: {flags: {quota-backend-bytes: 16777216}}\n")
    lab.run("up", "--yes")
    _fill(lab)
    code, seen = look(lab)
    print("\n".join(seen["attention"]))
    assert (code, seen["healthy"]) == (13, False)
    assert any("etcd is out of space (alarm NOSPACE), every write is refused" in line for line in seen["attention"])
    assert seen["quorum"] == "3 of 3, can lose 1"
    assert ready(lab).returncode == 13
    before, text = unit_ids(lab), lab.file.read_bytes()
    configure(lab, W1, "w1: {address: 10.77.0.21, roles: [worker], config: {kubelet: {maxPods: 77}}}")
    refused = lab.run("up", "--yes", check=False)
    print(refused.stderr)
    assert refused.returncode == 15, refused.stderr
    assert "restarting nothing: " in refused.stderr and "NOSPACE" in refused.stderr
    assert unit_ids(lab) == before
    lab.file.write_bytes(text)

    lab.kubectl("delete", "configmap", *_fillers(lab), "--wait=false")
    lab.on("cp1", "sh", "-c", f"e='{' '.join(ETCDCTL)}'; "
           "$e compact \"$($e endpoint status -w fields | sed -n 's/^\"Revision\" : //p')\"")
    assert any("kubewright etcd defrag" in line for line in seen["attention"])
    done = lab.run("etcd", "defrag", "--yes")
    print(done.stderr)
    lab.run("ready", "--timeout", "60")


def _fill(lab: Lab) -> None:
    """Write until etcd refuses it; the quota is all that ends this."""
    body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": f"{FULL}-"},
                       "data": {"x": "x" * 900_000}})
    for _ in range(40):
        if "database space exceeded" in _said(lab, body):
            return
    raise AssertionError("etcd took all of it")


def _said(lab: Lab, body: str) -> str:
    done = subprocess.run(lab.kubectl_call("create", "-f", "-"), input=body, capture_output=True, text=True,
                          timeout=60, check=False)
    return done.stderr


def _fillers(lab: Lab) -> list[str]:
    names = lab.kubectl("get", "configmaps", "-o", "name").split()
    return [name.partition("/")[2] for name in names if FULL in name]
