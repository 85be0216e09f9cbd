"""Members that lost their data on real nodes: one is given its place again, and what is left of three is the cluster.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.lab import figures
from tests.lab.etcd_data import MEMBERS, containers, names, one, serves_anew, wipe, write
from tests.lab.machines import Lab, until
from tests.lab.moments import killed, moment
from tests.lab.voters import etcdctl, is_settled, leader

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.changes("etcd"), pytest.mark.timeout(900)]
REPLACED, RECOVERED = 60.0, 240.0       # seconds
HEARD = 2.0         # seconds in which a follower hears what is committed: etcd's heartbeat is 0.1 s


@pytest.mark.parametrize("host", ["cp2"])
def test_a_member_whose_directory_was_deleted_votes_again_by_one_command_in_the_same_cluster(
        cluster: Lab, host: str) -> None:
    before = etcdctl(cluster, "cp1", "endpoint", "status")[0]["Status"]["header"]["cluster_id"]
    cluster.kubectl("create", "configmap", "of-before", "--from-literal=a=b")
    cluster.on(host, "sh", "-c", "rm -rf /var/lib/etcd; systemctl kill -s KILL etcd")
    cure = f"node replace {host}"
    until(lambda: cure in cluster.run("status", check=False).stdout, 60, "status says how")
    began = time.monotonic()
    cluster.run("node", "replace", host, "--yes")
    took = time.monotonic() - began
    figures.record(f"data directory of {host} deleted: it votes again", [took], unit="s", limit=REPLACED)
    is_settled(cluster, MEMBERS)
    assert etcdctl(cluster, host, "endpoint", "status")[0]["Status"]["header"]["cluster_id"] == before
    assert etcdctl(cluster, host, "get", "--keys-only", "--consistency=s",
                   "/registry/configmaps/default/of-before")["count"] == 1
    assert took <= REPLACED


def lose_two(lab: Lab, prefix: str) -> set[str]:
    """Write, let every member hear of it, destroy two of three, the leader among them; return what was written."""
    write(lab, prefix, 200)
    known = names(lab)
    time.sleep(HEARD)       # nothing tells from outside that a follower has heard what is committed
    leads = leader(lab)
    gone = [leads, next(h for h in MEMBERS if h != leads)]
    wipe(lab, gone)
    return known


def test_of_three_members_two_are_destroyed_and_what_the_survivor_has_becomes_the_cluster(
        cluster: Lab) -> None:
    known, running = lose_two(cluster, "acknowledged"), containers_of(cluster)
    said = cluster.run("status", check=False)
    assert said.returncode == 13 and "etcd recover" in said.stdout, said.stdout
    refused = cluster.run("up", "--yes", check=False)
    assert refused.returncode == 15 and "etcd recover" in refused.stderr, refused.stderr
    began = time.monotonic()
    cluster.run("etcd", "recover", "--yes")
    took = time.monotonic() - began
    lost = known - names(cluster)
    figures.record("two of three members destroyed: recovered", [took], unit="s", limit=RECOVERED,
                   acknowledged=len(known), lost=len(lost))
    assert lost == set()
    assert containers(cluster) == running, "Pods ran on"
    serves_anew(cluster, "watched")
    is_settled(cluster, MEMBERS)
    assert took <= RECOVERED


def containers_of(lab: Lab) -> set[str]:
    """Return the containers that run while the API is away, by the runtimes' own word, as the API writes them."""
    call = ("ctr", "--namespace", "k8s.io", "task", "list")
    rows = [line.split() for h in (*MEMBERS, "w1", "w2") for line in lab.on(h, *call).splitlines()[1:]]
    running = {f"containerd://{row[0]}" for row in rows if row[2] == "RUNNING"}
    sandboxes = {f"containerd://{row.split()[0]}" for h in (*MEMBERS, "w1", "w2") for row in lab.on(
        h, "ctr", "--namespace", "k8s.io", "container", "list", "labels.\"io.cri-containerd.kind\"==sandbox",
        ).splitlines()[1:]}
    return running - sandboxes


MOMENTS = ("step etcd.members", "step etcd.swapped", "phase control-plane")


def test_a_recovery_that_is_killed_is_ended_by_the_same_command(cluster: Lab) -> None:
    known = lose_two(cluster, "again")
    for named in MOMENTS:
        killed(cluster, named, moment(named), "etcd", "recover", "--yes")
    began = time.monotonic()
    cluster.run("etcd", "recover", "--yes")
    lost = known - names(cluster)
    figures.record(f"a recovery killed at {len(MOMENTS)} moments: ended by the same command",
                   [time.monotonic() - began], unit="s", moments=list(MOMENTS), acknowledged=len(known),
                   lost=len(lost))
    assert lost == set()
    serves_anew(cluster, "watched")
    is_settled(cluster, MEMBERS)
    again = cluster.run("etcd", "recover", "--yes", check=False)
    assert again.returncode == 15 and "etcd has a leader: nothing has to be recovered" in again.stderr


def test_while_a_majority_has_its_data_nothing_is_given_up(cluster: Lab, tmp_path: Path) -> None:
    for host in ("cp1", "cp2"):
        cluster.on(host, "systemctl", "stop", "etcd")
    refused = cluster.run("etcd", "recover", "--yes", check=False)
    assert refused.returncode == 15, refused.stderr
    assert "have their data: 3 of 3 is a majority" in refused.stderr and "systemctl restart etcd" in refused.stderr
    for host in ("cp1", "cp2"):         # as it says
        cluster.on(host, "systemctl", "restart", "etcd")
    cluster.run("ready", "--timeout", "120")
    assert one(cluster, "namespace", "default")["metadata"]["name"] == "default"
