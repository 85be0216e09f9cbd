"""Hosts come and go while the cluster serves; etcd's members are the inventory's each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from provisioner.lab import faults
from tests.lab import figures
from tests.lab.machines import CONTROL_PLANES, NODES, Lab, managed_mtimes, unit_ids, until
from tests.lab.voters import (
    NEW,
    ROLES,
    etcdctl,
    follower,
    is_empty,
    is_settled,
    is_unnoticed,
    leader,
    members,
    removed,
    vip_holder,
    with_more,
)
from tests.lab.witness import Api, Attempts, admin

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(1200)]
WORKERS = tuple(host for host in NODES if host not in CONTROL_PLANES)


@pytest.fixture
def grown(cluster: Lab) -> Iterator[Lab]:
    """The cluster of three, with two more machines that are in the inventory and empty."""
    with with_more(cluster, NEW, ROLES) as lab:
        yield lab


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


def test_a_worker_comes_and_goes_and_no_other_host_restarts_anything_or_is_written_to(cluster: Lab) -> None:
    with with_more(cluster, {"w3": "10.77.0.23"}, "[worker]") as lab:
        before = unit_ids(lab), managed_mtimes(lab, WORKERS)
        began = time.time()
        lab.run("up", "--yes")
        figures.record("a worker joins", [time.time() - began], unit="s")
        assert "w3" in lab.kubectl("get", "nodes")
        assert (unit_ids(lab), managed_mtimes(lab, WORKERS)) == before
        is_settled(lab, CONTROL_PLANES)
        removed(lab, "w3")
        began = time.time()
        lab.run("node", "remove", "w3", "--yes")
        figures.record("a worker leaves", [time.time() - began], unit="s")
        assert (unit_ids(lab), managed_mtimes(lab, WORKERS)) == before
        is_settled(lab, CONTROL_PLANES)
        is_empty(lab, "w3")


def test_a_member_that_lost_its_data_is_a_voter_again_by_one_command(cluster: Lab) -> None:
    before = etcdctl(cluster, "cp1", "endpoint", "status")[0]["Status"]["header"]["cluster_id"]
    cluster.kubectl("create", "configmap", "of-before", "--from-literal=a=b")
    host = follower(cluster)
    cluster.on(host, "sh", "-c", "rm -rf /var/lib/etcd/member && systemctl kill -s KILL etcd")
    cure, lost = f"node replace {host}", f"{host}: its etcd member lost its data"
    until(lambda: cure in cluster.run("status", check=False).stdout, 120, "status says how")
    plan = cluster.run("plan").stdout
    assert lost in plan and cure in plan and "unit etcd.service" not in plan
    refused = cluster.run("up", "--yes", check=False)
    assert refused.returncode == 15 and lost in refused.stderr and cure in refused.stderr, refused.stderr
    began = time.time()
    cluster.run("node", "replace", host, "--yes")
    figures.record("a member that lost its data votes again", [time.time() - began], unit="s", limit=60.0)
    is_settled(cluster, CONTROL_PLANES)
    assert etcdctl(cluster, host, "endpoint", "status")[0]["Status"]["header"]["cluster_id"] == before
    assert len(etcdctl(cluster, host, "get", "--keys-only", "--consistency=s",
                       "/registry/configmaps/default/of-before")["kvs"]) == 1, "read from its own data"


def in_turn(lab: Lab) -> Iterator[str]:
    """Yield every control plane once: first who leads etcd, then who has the VIP."""
    left = list(CONTROL_PLANES)
    for who in (leader, vip_holder, None):
        host = left[0] if who is None else who(lab)
        assert host in left, f"{host} was replaced already"
        left.remove(host)
        yield host


@contextmanager
def asked(lab: Lab) -> Iterator[tuple[Attempts, Attempts]]:
    """Read and write through the VIP meanwhile; a run measures only where something restarts, and here nothing does."""
    api = lab.inventory.cluster.api
    way = Api(lab, admin(lab), None, str(api.vip), api.port)
    with Attempts(way) as reads, Attempts(way, "POST", "/api/v1/namespaces/default/configmaps", 0.5) as writes:
        yield reads, writes


def test_each_control_plane_that_died_is_replaced_in_its_turn_and_nobody_notices(cluster: Lab) -> None:
    took, attempts = [], []
    for host in in_turn(cluster):
        faults.kill(cluster.inventory, host)
        until(lambda host=host: f"node replace {host}" in cluster.run("status", check=False).stdout, 60,
              "status says which command replaces it")
        cluster.run("lab", "reset", host)           # another machine has its name: an empty one
        with asked(cluster) as witnesses:
            since = time.time()
            cluster.run("node", "replace", host, "--yes")
            took.append(time.time() - since)
        attempts += [witness.unfailing() for witness in witnesses]
        is_settled(cluster, CONTROL_PLANES)
    figures.record("a dead control plane is replaced", took, unit="s", attempts=sum(attempts))


def test_each_control_plane_that_is_alive_is_emptied_and_replaced_in_its_turn(cluster: Lab) -> None:
    took, attempts = [], []
    for host in in_turn(cluster):
        with asked(cluster) as witnesses:
            cluster.run("reset", host, "--yes")
            cluster.run("lab", "reset", host)
            began = time.time()
            cluster.run("node", "replace", host, "--yes")
            took.append(time.time() - began)
        attempts += [witness.unfailing() for witness in witnesses]
        is_settled(cluster, CONTROL_PLANES)
    figures.record("a control plane that was emptied is replaced", took, unit="s", attempts=sum(attempts))


def test_a_control_plane_gets_another_address_by_leaving_and_coming_anew(cluster: Lab) -> None:
    before = cluster.file.read_text(encoding="utf-8")
    moved = before.replace("address: 10.77.0.12", "address: 10.77.0.32")
    assert moved != before
    cluster.file.write_text(moved, encoding="utf-8")
    refused = cluster.run("up", "--yes", check=False)
    assert refused.returncode == 15 and "member-moved" in refused.stderr, refused.stderr
    assert "node replace cp2" in refused.stderr
    cluster.file.write_text(before, encoding="utf-8")
    cluster.run("reset", "cp2", "--yes")
    faults.kill(cluster.inventory, "cp2")
    cluster.file.write_text(moved, encoding="utf-8")
    cluster.run("lab", "up")
    since = time.time()
    cluster.run("node", "replace", "cp2", "--yes")
    took = time.time() - since
    figures.record("a control plane comes anew at another address", [took], unit="s",
                   attempts=is_unnoticed(cluster, since)["attempts"])
    is_settled(cluster, CONTROL_PLANES)
    for host in NODES:
        said = cluster.on(host, "cat", "/etc/haproxy/haproxy.cfg")
        assert "10.77.0.32:6443" in said and "10.77.0.12:" not in said, host
    urls = [u for m in etcdctl(cluster, "cp1", "member", "list")["members"] for u in m["peerURLs"]]
    assert "https://10.77.0.32:2380" in urls and "https://10.77.0.12:2380" not in urls


def test_lost_machines_that_come_back_are_no_members_no_nodes_and_never_have_the_vip(grown: Lab) -> None:
    grown.run("up", "--yes")
    known, vip = grown.inventory, str(grown.inventory.cluster.api.vip)
    faults.kill(known, "cp4")
    faults.drop(known, "cp5")       # it runs on, alone, and takes the VIP there
    until(lambda: has(grown, "cp5", vip), 30, "cp5 hears nobody any more")
    removed(grown, *NEW)
    since = time.time()
    grown.run("node", "remove", *NEW, "--lost", "--yes")
    is_unnoticed(grown, since)
    is_settled(grown, CONTROL_PLANES)
    faults.come_back(known, "cp4")
    faults.undrop(known, "cp5")
    until(lambda: not has(grown, "cp5", vip), 30, "cp5 gives the VIP up")
    seen: set[str] = set()

    def tries(tried: Callable[[], bool], what: str) -> None:
        def look() -> bool:
            seen.update(host for host in NEW if has(grown, host, vip))
            return tried()
        until(look, 180, what, 0.5)

    for host in NEW:
        tries(lambda host=host: restarts(grown, host) > 1, f"{host}'s member has tried to join")    # type: ignore[misc]
    tries(lambda: "no host of this cluster" in grown.on("cp4", "journalctl", "--boot", "--unit=kubelet",
                                                        "--output=cat"), "cp4's kubelet has tried to join")
    assert not seen, "the VIP was there too"
    assert members(grown) == dict.fromkeys(CONTROL_PLANES, False)
    assert not set(NEW) & set(grown.kubectl("get", "nodes", "--output=name").replace("node/", "").split())
    grown.run("ready", "--timeout", "60")


def has(lab: Lab, host: str, address: str) -> bool:
    return f"inet {address}/" in lab.on(host, "ip", "-4", "address")


def restarts(lab: Lab, host: str) -> int:
    return int(lab.on(host, "systemctl", "show", "-p", "NRestarts", "--value", "etcd.service"))
