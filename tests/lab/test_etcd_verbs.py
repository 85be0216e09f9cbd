"""etcd's data on real nodes: a snapshot, and a cluster that has lost all its data put back to it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab import figures
from tests.lab.etcd_data import (
    MEMBERS,
    containers,
    names,
    one,
    revision,
    serves_anew,
    watching,
    wipe,
    write,
)
from tests.lab.machines import Lab
from tests.lab.moments import killed, moment

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.changes("etcd"), pytest.mark.timeout(900)]
WRITES = 500
SECONDS = 180.0


def spoiled(file: Path, how: str, place: Path) -> Path:
    """Return a copy of a snapshot, with all that lies beside it, that is not what was taken."""
    copy = place / f"{how}.db.age"
    for of in ("", ".json", ".keys"):
        Path(f"{copy}{of}").write_bytes(Path(f"{file}{of}").read_bytes())
    data = bytearray(copy.read_bytes())
    if how == "cut":
        copy.write_bytes(data[:-5000])
    elif how == "changed":
        data[len(data) // 2] ^= 1
        copy.write_bytes(data)
    else:
        manifest = Path(f"{copy}.json")
        said = json.loads(manifest.read_text(encoding="utf-8"))
        manifest.write_text(json.dumps({**said, "cluster": "another", "etcd_ca": "0" * 64}), encoding="utf-8")
    return copy


def test_a_cluster_whose_members_all_lost_their_data_is_put_back_to_a_snapshot(cluster: Lab, tmp_path: Path) -> None:
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

    for how in ("cut", "changed", "foreign"):
        refused = cluster.run("etcd", "restore", str(spoiled(file, how, tmp_path)), "--yes", check=False)
        assert refused.returncode == 15 and "nothing was changed" in refused.stderr, refused.stderr
        print(refused.stderr)
    assert revision(cluster) >= newest and len(names(cluster)) > WRITES, "the old data serves"
    assert containers(cluster) == running

    with watching(cluster) as watch:
        wipe(cluster, MEMBERS)
        began = time.monotonic()
        done = cluster.run("etcd", "restore", str(file), "--yes")
        took = time.monotonic() - began
        assert "what is there now is not seen" in done.stderr, done.stderr
        figures.record("all members wiped: restored", [took], unit="s", limit=SECONDS, writes_since=WRITES)
        assert watch.wait(30) is not None, "a watch of before has ended"
    assert one(cluster, "configmap", "before-7")["metadata"]["uid"] == before["cm"]["metadata"]["uid"]
    assert one(cluster, "configmap", "before-7")["data"] == before["cm"]["data"]
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
    aside = cluster.on("cp1", "sh", "-c", "ls -d /var/lib/etcd/member.before-*", check=False)
    assert aside == "", "the data of before was gone: there is nothing to keep"


def test_the_plan_of_a_restore_tells_what_is_lost_and_comes_back_and_the_data_of_before_is_kept(
        cluster: Lab, tmp_path: Path) -> None:
    write(cluster, "then", 5)
    file = tmp_path / "snapshot.db.age"
    cluster.run("etcd", "snapshot", "--out", str(file))
    write(cluster, "since", 7)
    cluster.kubectl("delete", "configmap", "then-0", "then-1")
    done = cluster.run("etcd", "restore", str(file), "--yes")
    (line,) = [line for line in done.stderr.splitlines() if line.split()[:1] == ["configmaps"]]
    assert "7 made since then, lost; 2 deleted since then, back" in line
    for host in MEMBERS:
        assert cluster.on(host, "sh", "-c", "ls -d /var/lib/etcd/member.before-*").strip()
    assert one(cluster, "configmap", "then-0")["data"] == {"n": "0"}
    # As the how-to says, when all is well.
    for host in MEMBERS:
        cluster.on(host, "sh", "-c", "rm -r /var/lib/etcd/member.before-*")
    cluster.run("ready", "--timeout", "60")
    assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")


# The last step that a run has told before it is killed: before anything is stopped, in the midst of the data, after it.
MOMENTS = ("step etcd.made", "step etcd.members", "step etcd.swapped", "step etcd.started", "phase control-plane",
           "phase controllers", "phase verify")


@pytest.mark.parametrize("moments", [MOMENTS[:4], MOMENTS[4:]], ids=["data", "after"])
def test_a_restore_that_is_killed_is_ended_by_the_same_command(
        cluster: Lab, tmp_path: Path, moments: tuple[str, ...]) -> None:
    which = moments[0].split()[-1].replace(".", "-")
    write(cluster, f"kept-{which}", 5)
    file = tmp_path / "snapshot.db.age"
    cluster.run("etcd", "snapshot", "--out", str(file))
    write(cluster, f"later-{which}", 5)
    newest: int = revision(cluster)
    for named in moments:
        killed(cluster, named, moment(named), "etcd", "restore", str(file), "--yes")
    began = time.monotonic()
    done = cluster.run("etcd", "restore", str(file), "--yes")
    figures.record(f"a restore killed at {len(moments)} moments: ended by the same command",
                   [time.monotonic() - began], unit="s", moments=list(moments))
    assert "holds what" in done.stdout
    found = names(cluster)
    assert any(f"kept-{which}-" in name for name in found) and not any(f"later-{which}-" in name for name in found)
    assert revision(cluster) > newest
    serves_anew(cluster, "watched")
    cluster.run("ready", "--timeout", "60")
    assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")


def test_what_is_typed_elsewhere_is_refused_where_nothing_is_restored(cluster: Lab, tmp_path: Path) -> None:
    refused: dict[str, Any] = {}
    for words in (("etcd", "recover", "--yes"), ("node", "replace", "cp2", "--yes")):
        done = cluster.run(*words, check=False)
        refused[words[1]] = (done.returncode, done.stderr)
    assert refused["recover"][0] == 15 and "etcd has a leader: nothing has to be recovered" in refused["recover"][1]
    assert refused["replace"][0] == 15 and "there is nothing to replace" in refused["replace"][1]
    assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
