"""Control planes come, go and are replaced while the cluster serves; etcd's members are the inventory's each time."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import figures
from tests.lab.machines import CONTROL_PLANES, Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(1200)]
NEW = {"cp4": "10.77.0.14", "cp5": "10.77.0.15"}
ROLES = "[etcd, control-plane, load-balancer]"
ETCDCTL = ("etcdctl", "--cacert=/etc/kubernetes/pki/etcd/ca.crt",
           "--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt",
           "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key", "--write-out=json")


@pytest.fixture
def grown(cluster: Lab) -> Iterator[Lab]:
    """The cluster of three, with two more machines that are in the inventory and empty."""
    before = cluster.file.read_text(encoding="utf-8")
    cluster.file.write_text(before.rstrip("\n") + "\n" + "".join(
        f"  {host}: {{address: {address}, roles: {ROLES}}}\n" for host, address in NEW.items()), encoding="utf-8")
    cluster.run("lab", "up")
    yield cluster
    cluster.run("lab", "down", *NEW, check=False)
    cluster.file.write_text(before, encoding="utf-8")


def etcdctl(lab: Lab, host: str, *words: str) -> Any:
    return json.loads(lab.on(host, *ETCDCTL, "--endpoints=https://127.0.0.1:2379", *words))


def members(lab: Lab, host: str = "cp1") -> dict[str, bool]:
    """Return the members by name, each with whether it is a learner."""
    return {m.get("name", ""): bool(m.get("isLearner")) for m in etcdctl(lab, host, "member", "list")["members"]}


def hashes(lab: Lab, hosts: tuple[str, ...]) -> set[int]:
    """Return the hashes of all members' data at one revision, which every member has."""
    revision = min(etcdctl(lab, h, "endpoint", "status")[0]["Status"]["header"]["revision"] for h in hosts)
    return {etcdctl(lab, h, "endpoint", "hashkv", f"--rev={revision}")[0]["HashKV"]["hash"] for h in hosts}


def is_unnoticed(lab: Lab, since: float) -> dict[str, Any]:
    """Return what the prober saw of the newest run: no failed probe, no acknowledged write lost."""
    seen: dict[str, Any] = next(e["data"] for e in lab.events(since) if e["type"] == "availability")
    failed = {(row["series"], row["host"]): row["failures"] for row in seen["series"] if row["failures"]}
    assert not failed and seen["lost"] == 0 and seen["attempts"] > 100, json.dumps(seen)
    return seen


def is_settled(lab: Lab, hosts: tuple[str, ...]) -> None:
    """See that exactly these vote, have the same data, and that a second run has nothing to do."""
    assert members(lab, hosts[0]) == dict.fromkeys(hosts, False)
    assert len(hashes(lab, hosts)) == 1
    assert lab.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
    lab.run("ready", "--timeout", "60")


def removed(lab: Lab, *hosts: str) -> None:
    """Take hosts out of the inventory, as a person does."""
    lines = lab.file.read_text(encoding="utf-8").splitlines(keepends=True)
    lab.file.write_text("".join(line for line in lines if not line.startswith(tuple(f"  {h}:" for h in hosts))),
                        encoding="utf-8")


def is_empty(lab: Lab, host: str) -> None:
    """See that nothing of the cluster runs or lies on a host."""
    assert lab.on(host, "sh", "-c", "ls -d /opt/kubewright /etc/kubernetes /var/lib/etcd/member /var/lib/kubewright "
                  "2>/dev/null", check=False) == ""
    for unit in ("etcd", "kube-apiserver", "kubelet", "keepalived", "haproxy"):
        assert lab.on(host, "systemctl", "is-active", unit, check=False).strip() != "active", unit


def test_two_more_control_planes_join_and_leave_again_and_nobody_notices(grown: Lab) -> None:
    plan = grown.run("plan").stdout
    assert "cp4 joins etcd as a learner" in plan
    assert "etcd: 3 voters (quorum 2, can lose 1) become 5 voters (quorum 3, can lose 2)" in plan
    since = time.time()
    grown.run("up", "--yes")
    took = time.time() - since
    figures.record("two control planes join", [took], unit="s", attempts=is_unnoticed(grown, since)["attempts"])
    is_settled(grown, (*CONTROL_PLANES, *NEW))

    removed(grown, *NEW)
    refused = grown.run("up", "--yes", check=False)
    assert refused.returncode == 15 and "member-left" in refused.stderr
    since = time.time()
    grown.run("node", "remove", *NEW, "--yes")
    took = time.time() - since
    figures.record("two control planes leave", [took], unit="s", attempts=is_unnoticed(grown, since)["attempts"])
    is_settled(grown, CONTROL_PLANES)
    for host in NEW:
        is_empty(grown, host)
        assert host not in grown.kubectl("get", "nodes")


def killed_at(lab: Lab, proof: str, *verb: str) -> None:
    """Start a verb and kill its whole process group as soon as it tells this proof; it must not have ended before."""
    began = time.time()
    process = lab.start(*verb)
    try:
        until(lambda: process.poll() is not None or any(
            proof in said for e in lab.events(began) if e["type"] == "gate" for said in e["data"].get("proved", ())),
            400, proof, interval=0.05)
        assert process.poll() is None, process.communicate()[0]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def test_runs_killed_while_members_join_and_leave_are_ended_by_a_plain_run(grown: Lab) -> None:
    up = ("up", "--yes")
    for proof in ("cp4 is a learner", "cp4 votes", "cp5 started"):
        killed_at(grown, proof, *up)
    grown.run(*up)
    is_settled(grown, (*CONTROL_PLANES, *NEW))
    removed(grown, *NEW)
    killed_at(grown, "cp4 is no member any more", "node", "remove", *NEW, "--yes")
    grown.run("node", "remove", *NEW, "--yes")
    is_settled(grown, CONTROL_PLANES)
    for host in NEW:
        is_empty(grown, host)


def test_the_leader_that_lost_its_data_is_a_voter_again_by_one_command(cluster: Lab) -> None:
    before = etcdctl(cluster, "cp1", "endpoint", "status")[0]["Status"]["header"]["cluster_id"]
    cluster.kubectl("create", "configmap", "of-before", "--from-literal=a=b")
    host = next(str(r["host"]) for r in cluster.json("status")["hosts"] if str(r["etcd"]).startswith("leader"))
    cluster.on(host, "sh", "-c", "rm -rf /var/lib/etcd/member && systemctl kill -s KILL etcd")
    cure = f"node replace {host}"
    until(lambda: cure in cluster.run("status", check=False).stdout, 60, "status says how")
    began = time.time()
    cluster.run("node", "replace", host, "--yes")
    figures.record("a member that lost its data votes again", [time.time() - began], unit="s", limit=60.0)
    is_settled(cluster, CONTROL_PLANES)
    assert etcdctl(cluster, host, "endpoint", "status")[0]["Status"]["header"]["cluster_id"] == before
    assert etcdctl(cluster, host, "get", "--count-only", "--consistency=s",
                   "/registry/configmaps/default/of-before")["count"] == 1
