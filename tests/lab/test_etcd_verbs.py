"""etcd's verbs on real nodes: a snapshot, and a cluster that has lost all its data put back to it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(900)]
MEMBERS = ("cp1", "cp2", "cp3")
WRITES = 500
SECONDS = 180


def write(lab: Lab, prefix: str, number: int) -> None:
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{prefix}-{n}"}, "data": {"n": str(n)}}
             for n in range(number)]
    lab.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def names(lab: Lab) -> set[str]:
    return set(lab.kubectl("get", "configmap", "-o", "name").split())


def one(lab: Lab, *what: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(lab.kubectl("get", *what, "-o", "json"))
    return found


def revision(lab: Lab) -> int:
    """Return etcd's revision, as the API tells it of a list."""
    page = json.loads(lab.kubectl("get", "--raw", "/api/v1/namespaces/default/configmaps?limit=1"))
    return int(page["metadata"]["resourceVersion"])


def containers(lab: Lab) -> set[str]:
    """Return the containers that run, by id: one that was started anew has another."""
    pods = one(lab, "pods", "-A")["items"]
    return {c["containerID"] for p in pods for c in p["status"].get("containerStatuses", ()) if "running" in c["state"]}


def serves_anew(lab: Lab, name: str) -> None:
    """See that what watches works with what is written now: a new Deployment gets its Pod."""
    image = one(lab, "deployment", "-n", "kube-system", "coredns")["spec"]["template"]["spec"]["containers"][0]["image"]
    lab.kubectl("create", "deployment", name, f"--image={image}", "--", "/coredns", "-version")
    until(lambda: one(lab, "pods", "-l", f"app={name}")["items"], 60, "a Pod of a new Deployment")
    lab.kubectl("delete", "deployment", name)


def wipe(lab: Lab) -> None:
    for host in MEMBERS:
        lab.on(host, "sh", "-c", "systemctl kill -s KILL etcd; systemctl stop etcd; rm -rf /var/lib/etcd/member")


def test_a_cluster_whose_members_all_lost_their_data_is_put_back_to_a_snapshot(
        cluster: Lab, tmp_path: Path, record_property: Any) -> None:
    members = cluster.json("etcd", "members")
    assert members["healthy"] and [m["host"] for m in members["members"]] == list(MEMBERS)
    write(cluster, "before", 20)
    cluster.kubectl("create", "secret", "generic", "kept", "--from-literal=word=xyzzy")
    file = tmp_path / "snapshot.db.age"
    cluster.run("etcd", "snapshot", "--out", str(file))
    proved = cluster.json("etcd", "restore", "--rehearse", str(file))
    assert proved["hash"] is True and proved["secret"].startswith("secrets/")
    assert b"xyzzy" not in file.read_bytes()
    before = {"cm": one(cluster, "configmap", "before-7"), "secret": one(cluster, "secret", "kept"),
              "nodes": {n["metadata"]["name"]: n["metadata"]["uid"] for n in one(cluster, "nodes")["items"]}}
    write(cluster, "after", WRITES)
    cluster.kubectl("delete", "configmap", "before-7")
    newest, running = revision(cluster), containers(cluster)

    cut = tmp_path / "cut.db.age"
    cut.write_bytes(file.read_bytes()[:-5000])
    refused = cluster.run("etcd", "restore", str(cut), "--yes", check=False)
    assert refused.returncode == 15 and "nothing was changed" in refused.stderr, refused.stderr
    assert revision(cluster) >= newest, "the old data serves"

    wipe(cluster)
    began = time.monotonic()
    cluster.run("etcd", "restore", str(file), "--yes")
    took = time.monotonic() - began
    record_property("seconds", round(took, 1))
    print(f"restored in {took:.1f} s")
    assert one(cluster, "configmap", "before-7")["metadata"]["uid"] == before["cm"]["metadata"]["uid"]
    assert one(cluster, "secret", "kept")["data"] == before["secret"]["data"]
    assert {n["metadata"]["name"]: n["metadata"]["uid"] for n in one(cluster, "nodes")["items"]} == before["nodes"]
    assert not any("after-" in name for name in names(cluster))
    assert revision(cluster) > newest + 500_000_000
    assert containers(cluster) == running
    serves_anew(cluster, "watched")
    assert took <= SECONDS
    cluster.run("ready", "--timeout", "60")
    assert cluster.json("etcd", "members")["healthy"]
    assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")


@pytest.mark.parametrize("moment", ["etcd", "control-plane", "controllers"])
def test_a_restore_that_is_killed_is_ended_by_the_same_command(cluster: Lab, tmp_path: Path, moment: str) -> None:
    write(cluster, f"kept-{moment}", 5)
    file = tmp_path / "snapshot.db.age"
    cluster.run("etcd", "snapshot", "--out", str(file))
    write(cluster, f"later-{moment}", 5)
    newest = revision(cluster)
    began = time.time()
    process = cluster.start("etcd", "restore", str(file), "--yes")
    cluster.wait_for_phase(moment, process, began)
    time.sleep(3 if moment == "etcd" else 0.5)      # in the midst of it, wherever that is on this machine
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    done = cluster.run("etcd", "restore", str(file), "--yes")
    assert "holds what" in done.stdout
    found = names(cluster)
    assert any(f"kept-{moment}" in name for name in found) and not any(f"later-{moment}" in name for name in found)
    assert revision(cluster) > newest
    cluster.run("ready", "--timeout", "60")
    assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
