"""etcd looked after on real nodes: room given back while it serves, snapshots by the timer, a member that lags."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from provisioner.compile.etcd import ETCDCTL
from provisioner.compile.snapshots import SETTINGS
from tests.lab import figures
from tests.lab.etcd_data import MEMBERS, names, write
from tests.lab.machines import Lab, until
from tests.lab.voters import etcdctl, leader

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.changes("etcd"), pytest.mark.timeout(900)]
TIMER, SERVICE = "kubewright-etcd-snapshot.timer", "kubewright-etcd-snapshot.service"
PLACE = "/var/lib/etcd-snapshots"
KEEP = 2
BEHIND = 5000
# The timer as it is, but for how soon: an inventory may ask for one a minute, and the first comes after five.
# An empty value takes all times away, of either kind.
SOON = ("[Timer]\nOnActiveSec=\nOnActiveSec=2s\nOnUnitActiveSec=10s\n"
        "RandomizedDelaySec=0\nAccuracySec=1s\n")


def configure(lab: Lab, was: str, now: str) -> None:
    text = lab.file.read_text(encoding="utf-8")
    assert text.count(was) == 1
    lab.file.write_text(text.replace(was, now), encoding="utf-8")


def sizes(lab: Lab) -> dict[str, int]:
    return {m["host"]: m["size"] for m in lab.json("etcd", "members")["members"]}


def test_members_are_defragmented_one_by_one_the_leader_last_and_nobody_notices(cluster: Lab) -> None:
    for batch in range(4):
        items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"large-{batch}-{n}"},
                  "data": {"x": "x" * 500_000}} for n in range(20)]
        cluster.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    cluster.kubectl("delete", "configmap", *(f"large-{batch}-{n}" for batch in range(4) for n in range(20)))
    revision = etcdctl(cluster, "cp1", "endpoint", "status")[0]["Status"]["header"]["revision"]
    cluster.on("cp1", *ETCDCTL, "compact", str(revision), "--physical")
    before = sizes(cluster)
    leads = leader(cluster)
    since = time.time()
    done = cluster.run("etcd", "defrag", "--yes")
    events = cluster.events(since)
    after, seen = sizes(cluster), next(e["data"] for e in events if e["type"] == "availability")
    figures.record("defragmented: failed attempts, cut requests, lost writes",
                   [seen["failures"], seen["cuts"], seen["lost"]], unit="", limit=0, attempts=seen["attempts"],
                   gap_ms=seen["gap_ms"])
    figures.record("defragmented: size of each member after it", [after[h] / 1e6 for h in MEMBERS], unit="MB",
                   before=[before[h] / 1e6 for h in MEMBERS])
    assert "Every member is defragmented." in done.stdout
    assert all(after[h] < before[h] / 2 for h in MEMBERS), (before, after)
    ends = {host: _defragmented(cluster, host, since) for host in MEMBERS}
    assert max(ends, key=lambda host: ends[host]) == leads, ends
    assert (seen["failures"], seen["cuts"], seen["lost"]) == (0, 0, 0) and seen["attempts"] > 50, seen
    cluster.run("ready", "--timeout", "60")
    assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")


def _defragmented(lab: Lab, host: str, since: float) -> float:
    """Return when a member ended its defragmentation, by its own journal; it did so once."""
    lines = lab.on(host, "journalctl", "-u", "etcd", "--no-pager", "-o", "short-unix", f"--since=@{since:.0f}")
    found = [float(line.split(" ", 1)[0]) for line in lines.splitlines() if "finished defragment" in line]
    assert len(set(map(int, found))) == 1, lines[-3000:]
    return found[-1]


def kept(lab: Lab, host: str) -> list[str]:
    listed = lab.on(host, "sh", "-c", f"ls {PLACE} 2>/dev/null", check=False)
    return sorted(name for name in listed.split() if name.endswith(".db"))


def often(lab: Lab, host: str) -> None:
    """Let a host take a snapshot every ten seconds."""
    lab.on(host, "sh", "-c", f"mkdir -p /run/systemd/system/{TIMER}.d && printf '{SOON}' > "
           f"/run/systemd/system/{TIMER}.d/soon.conf && systemctl daemon-reload && systemctl restart {TIMER}")


def as_asked_for(lab: Lab, host: str) -> None:
    """Let it take them as the inventory says again."""
    lab.on(host, "sh", "-c", f"rm -r /run/systemd/system/{TIMER}.d && systemctl daemon-reload && "
           f"systemctl restart {TIMER}")


def test_hosts_take_and_prove_snapshots_by_the_timer_keep_the_newest_and_one_of_them_is_restored(
        cluster: Lab, tmp_path: Path) -> None:
    configure(cluster, "config:\n", f"config:\n  etcd: {{snapshotEvery: 1h, snapshotKeep: {KEEP}}}\n")
    cluster.run("up", "--yes")
    cluster.kubectl("create", "secret", "generic", "timed", "--from-literal=word=xyzzy")
    for host in MEMBERS:
        often(cluster, host)
    first = {host: until(lambda host=host: kept(cluster, host), 120, f"{host} has a snapshot")[0] for host in MEMBERS}
    until(lambda: all(first[h] not in kept(cluster, h) and len(kept(cluster, h)) == KEEP for h in MEMBERS), 180,
          "the oldest goes, as many as are asked for stay")
    for host in MEMBERS:
        as_asked_for(cluster, host)
        until(lambda host=host: "activating" not in cluster.on(host, "systemctl", "is-active", SERVICE, check=False),
              120, "the last one ends")
    proofs = {host: json.loads(cluster.on(host, "cat", f"{PLACE}/{kept(cluster, host)[-1]}.proved.json"))
              for host in MEMBERS}
    assert all(p["hash"] is True and p["secret"].startswith("secrets/") for p in proofs.values()), proofs
    figures.record("a host takes and proves a snapshot: the proof", [p["seconds"] for p in proofs.values()], unit="s",
                   keys=[p["keys"] for p in proofs.values()])
    status = cluster.json("status")
    print(status["snapshots"])
    assert "newest proved" in status["snapshots"] and "on cp" in status["snapshots"], status["snapshots"]

    newest = f"{PLACE}/{kept(cluster, 'cp2')[-1]}"
    file = tmp_path / "fetched.db"
    for of in ("", ".json"):
        content = cluster.on("cp2", "base64", "-w0", f"{newest}{of}")
        Path(f"{file}{of}").write_bytes(base64.b64decode(content))
    write(cluster, "too-late", 3)
    cluster.run("etcd", "restore", str(file), "--yes")
    assert not any("too-late-" in name for name in names(cluster))
    cluster.run("ready", "--timeout", "60")

    spoil = f"printf x | dd of={newest} bs=1 seek=20000 conv=notrunc"
    cluster.on("cp2", "sh", "-c", spoil)
    said = cluster.on("cp2", "sh", "-c", f"/opt/kubewright/bin/etcd-prove {SETTINGS} {Path(newest).name} 2>&1; true")
    print(said)
    told = cluster.run("status", check=False)
    named = "cp2: a snapshot that it took is not proved to be restorable"
    assert told.returncode == 13 and named in told.stdout, told.stdout
    ill = cluster.run("doctor", check=False)
    assert named in ill.stdout, ill.stdout

    often(cluster, "cp2")
    until(lambda: Path(newest).name not in kept(cluster, "cp2"), 180, "the spoiled one goes as it gets old")
    as_asked_for(cluster, "cp2")
    until(lambda: named not in cluster.run("status", check=False).stdout, 60, "what has gone is told no more")
    cluster.run("ready", "--timeout", "60")


def test_a_member_that_lags_is_named_and_nothing_is_restarted_until_it_keeps_up(cluster: Lab) -> None:
    table = ("add table inet apart; add chain inet apart in { type filter hook input priority -10; }; "
             "add chain inet apart out { type filter hook output priority -10; }; "
             "add rule inet apart in tcp dport 2380 drop; add rule inet apart in tcp sport 2380 drop; "
             "add rule inet apart out tcp dport 2380 drop; add rule inet apart out tcp sport 2380 drop")
    leads = leader(cluster)
    host = next(h for h in MEMBERS if h != leads)
    cluster.on(host, "nft", table)
    try:
        # Writes of its own below a prefix of its own, and takes them away again: 150 a second for a minute.
        cluster.on(leads, *ETCDCTL, "check", "perf", "--load=s", check=False, timeout=180)
        rows: dict[str, Any] = {m["host"]: m for m in json.loads(
            cluster.run("-o", "json", "etcd", "members", check=False).stdout)["members"]}
        figures.record("entries that a member lags behind when it is told", [rows[host]["lag"]], unit="entries",
                       threshold=BEHIND)
        assert rows[host]["lag"] >= BEHIND
        seen = cluster.run("status", check=False)
        print(seen.stdout)
        assert seen.returncode == 13
        assert any(line.strip().startswith(f"{host}: its etcd member is") and "behind" in line
                   for line in seen.stdout.splitlines()), seen.stdout
        configure(cluster, "w1: {address: 10.77.0.21, roles: [worker]}",
                  "w1: {address: 10.77.0.21, roles: [worker], config: {kubelet: {maxPods: 77}}}")
        refused = cluster.run("up", "--yes", check=False)
        print(refused.stderr)
        assert refused.returncode == 15 and "restarting nothing: " in refused.stderr and "behind" in refused.stderr
    finally:
        cluster.on(host, "nft", "delete table inet apart")
    until(lambda: cluster.run("etcd", "members", check=False).returncode == 0, 120, "it has what the others have")
    cluster.run("up", "--yes")
    cluster.run("ready", "--timeout", "60")


def test_a_member_whose_data_is_corrupt_is_named_and_has_its_place_again_as_it_is_told(cluster: Lab) -> None:
    leads = leader(cluster)
    host, other = (h for h in MEMBERS if h != leads)
    number = etcdctl(cluster, host, "endpoint", "status")[0]["Status"]["header"]["member_id"]
    keys = [f"--{what}={value}" for what, value in zip(("cacert", "cert", "key"), (
        "/etc/kubernetes/pki/etcd/ca.crt", "/etc/kubernetes/pki/etcd/healthcheck-client.crt",
        "/etc/kubernetes/pki/etcd/healthcheck-client.key"), strict=True)]
    cluster.on(host, "curl", "-sf", *(word for key in keys for word in key.split("=")),
               "https://127.0.0.1:2379/v3/maintenance/alarm", "-d",
               json.dumps({"action": "ACTIVATE", "memberID": str(number), "alarm": "CORRUPT"}))
    seen = cluster.run("status", check=False)
    print(seen.stdout)
    assert seen.returncode == 13
    assert f"{host}: etcd's data is damaged (alarm CORRUPT), every write is refused" in seen.stdout
    assert f"node replace {host}" in seen.stdout
    cluster.on(host, "sh", "-c", "systemctl stop etcd && mv --backup=numbered -T /var/lib/etcd/member "
               "/var/lib/etcd/member.lost")
    cluster.on(other, *ETCDCTL, "alarm", "disarm")
    cluster.run("node", "replace", host, "--yes")
    cluster.run("ready", "--timeout", "60")
    assert cluster.json("etcd", "members")["healthy"]
    assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
