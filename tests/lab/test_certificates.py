"""Certificates of a running cluster: told by `certs check`, renewed by `up`, of its own CA only."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from provisioner.compile import pki as table
from provisioner.orchestrate.session.session import open_store
from tests.lab.conftest import NODES, Lab, managed_mtimes, unit_ids
from tests.lab.hostside import at_once
from tests.lab.reissue import OLD, Reissue, age, document

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
WHY = "expires in 20 days: below 30 % of its life"
# host and path of each certificate that `plan` shows with its reason, and the unit that it restarts
ISSUED = {(host, leaf.path): WHY for host, leaf in OLD}
READERS = {("cp2", "kube-scheduler.service"), ("cp3", "etcd.service"), ("w1", "kubelet.service")}
BESIDE = ("cp3", "kube-apiserver.service")      # goes down and up with its member
RESTARTED = READERS | {BESIDE}


def test_check_names_each_that_up_will_renew_and_why(reissued: Reissue) -> None:
    told = document(reissued.check)
    assert (reissued.check.returncode, told["valid"], told["unreachable"]) == (0, True, {}), "all of them work still"
    assert {(c["host"], c["path"]): c["note"] for c in told["certificates"] if c["state"] != "ok"} == ISSUED
    assert {c["host"] for c in told["certificates"]} == {*NODES, "here"}
    (peer,) = [c for c in told["certificates"] if (c["host"], c["path"]) == ("cp3", table.ETCD_PEER.path)]
    assert (peer["issuer"], peer["days_left"], round(peer["life_left"], 3)) == ("etcd", 20, 0.055)


def test_plan_shows_exactly_these_certificates_and_the_restarts_they_cause(reissued: Reissue) -> None:
    changes = reissued.plan["changes"]
    assert {(c["host"], c["path"]): c["reason"] for c in changes if c["kind"] == "certificate"} == ISSUED
    assert {(c["host"], c["path"]) for c in changes if c["kind"] == "unit"} == RESTARTED
    assert {c["action"] for c in changes if c["kind"] == "unit"} == {"restart"}
    assert {c["kind"] for c in changes} == {"certificate", "unit"}
    for change in changes:
        if (change["host"], change["path"]) == BESIDE:
            assert "etcd.service" in change["reason"]
        elif change["kind"] == "unit":
            (path,) = [p for host, p in ISSUED if host == change["host"] and p in change["reason"]]
            assert ISSUED[change["host"], path] in reissued.shown["plan"]


def test_up_renews_them_restarts_exactly_their_readers_and_the_cluster_is_well(reissued: Reissue) -> None:
    before, after = reissued.units
    restarted = set()
    for host in NODES:
        was, now = (dict(zip(*[iter(sorted_lines(text))] * 2, strict=True)) for text in (before[host], after[host]))
        restarted |= {(host, unit) for unit in was if was[unit] != now[unit]}
    assert restarted == RESTARTED
    told = reissued.lab.json("certs", "check")
    assert [c for c in told["certificates"] if c["state"] != "ok"] == []
    assert reissued.lab.json("plan")["changes"] == []
    assert reissued.lab.json("status")["healthy"]


def sorted_lines(text: str) -> list[str]:
    """Return the units' names and InvocationIDs in turn, as `systemctl show -p Id -p InvocationID` has them."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    return [value for block in blocks for value in (block["Id"], block["InvocationID"])]


@pytest.fixture
def other(cluster: Lab, tmp_path: Path) -> Iterator[Lab]:
    """Another inventory of the same machines, with the operator's key and without the cluster's secrets."""
    lab = Lab(tmp_path / "other", cluster.inventory.cluster.cluster)
    shutil.copy(cluster.file, lab.file)
    (lab.directory / ".kubewright").mkdir(mode=0o700)
    for name in ("known_hosts", "id_ed25519", "id_ed25519.pub"):
        shutil.copy(cluster.directory / ".kubewright" / name, lab.directory / ".kubewright")
    yield lab
    shutil.rmtree(lab.directory)        # the search for secrets would find the copy of the key


def test_an_inventory_with_another_ca_is_refused_and_nothing_is_changed(reissued: Reissue, other: Lab) -> None:
    lab = reissued.lab
    units, files = unit_ids(lab), managed_mtimes(lab)
    for secrets in ("none", "fresh"):
        if secrets == "fresh":
            open_store(other.inventory).create("another")
        done = other.run("up", "--yes", check=False)
        assert done.returncode == 15, done.stderr
        assert "has another CA than this inventory" in done.stderr
        assert "nothing was changed; the cluster keeps running" in done.stderr
    assert (unit_ids(lab), managed_mtimes(lab)) == (units, files)
    told = other.run("certs", "check", check=False)
    assert told.returncode == 13
    (line,) = [line for line in told.stdout.splitlines() if line.endswith(f": {table.CA}: not this inventory's CA")]
    assert line.strip().partition(":")[0] == ", ".join(NODES)


@pytest.mark.full
def test_a_cluster_all_of_whose_certificates_have_expired_is_seen_and_repaired(cluster: Lab) -> None:
    """As after a year without power: every service started anew, none of them believing another, the API down.

    Killed, not restarted: one `systemctl restart` of both would keep etcd down until its API server, which finds no
    etcd, has used up the 120 s that it is given to stop.
    """
    def expire(host: str) -> None:
        for leaf in table.TABLE:
            age(cluster, host, leaf, dt.timedelta(days=-3, hours=-1))

    at_once({host: partial(expire, host) for host in NODES})
    for host in NODES:
        cluster.on(host, "sh", "-c", "systemctl kill --signal=KILL etcd kube-apiserver kube-controller-manager "
                   "kube-scheduler haproxy kubelet kube-proxy flanneld 2>/dev/null || true")
    told = cluster.run("certs", "check", check=False)
    assert told.returncode == 13
    assert f"  cp1: {table.APISERVER.path}: expired 3 days ago\n" in told.stdout
    assert cluster.run("status", check=False).returncode == 13
    cluster.run("up", "--yes")
    assert cluster.run("certs", "check").returncode == 0
    assert cluster.json("plan")["changes"] == []
    assert cluster.json("status")["healthy"]
