"""A running cluster is changed while it serves, watched by the prober; it keeps the changed settings."""

from __future__ import annotations

import itertools
import json
import re
import time
from functools import partial
from typing import Any

import pytest

from provisioner.compile import pki
from tests.lab import figures
from tests.lab.hostside import at_once, haproxy, out_of_service
from tests.lab.machines import ADDRESSES, NODES, Lab, unit_ids
from tests.lab.voters import leader

pytestmark = [pytest.mark.lab, pytest.mark.changes, pytest.mark.timeout(600)]
NAME = "api.lab.test"


def moments(lab: Lab, host: str, unit: str, *texts: str, since: float) -> list[tuple[float, str]]:
    """Return (seconds since 1970, line) of a unit's journal lines that match one of the regular expressions."""
    call = ("journalctl", "-u", unit, "--no-pager", "-o", "short-unix", f"--since=@{since:.0f}")
    lines = [line for line in lab.on(host, *call).splitlines() if any(re.search(text, line) for text in texts)]
    found = [(float(line.split(" ", 1)[0]), line) for line in lines]
    return [(at, line) for at, line in found if at >= since]


def down(lab: Lab, host: str, unit: str, since: float) -> tuple[float, float]:
    """Return when a unit began to stop and was up again; more than one stop is a failure."""
    seen = [at for at, _ in moments(lab, host, unit, f"Stopping {unit}", f"Started {unit}", since=since)]
    assert len(seen) == 2, f"{host}: {unit} was stopped and started {seen}"
    return seen[0], seen[1]


def drained(lab: Lab, host: str, since: float) -> dict[str, list[float]]:
    """Return for every API server when this host's HAProxy took it out of service and back in."""
    found: dict[str, list[float]] = {}
    out: dict[str, bool] = {}
    words = r"Server apiservers/(\w+) (enters drain state|is (UP|DOWN).* \(leaving forced drain\))"
    for at, line in moments(lab, host, "haproxy.service", words, since=since):
        server = re.search(words, line)
        assert server
        enters = server[2].startswith("enters")
        if out.get(server[1]) is not enters:        # it says everything to two logs
            out[server[1]] = enters
            found.setdefault(server[1], []).append(at)
    return found


def issued(events: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """Return the certificates that a run issued, each with its reason."""
    rows = [(e["host"], c) for e in events if e["type"] == "changed" for c in e["data"].get("changes", ())]
    return {(host, c["path"]): c["reason"] for host, c in rows if (c["kind"], c["result"]) == ("certificate", "done")}


def configure(lab: Lab, below: str, text: str) -> None:
    """Add lines to the inventory, right below this key."""
    old = lab.file.read_text(encoding="utf-8")
    assert old.count(f"\n{below}:\n") == 1
    lab.file.write_text(old.replace(f"\n{below}:\n", f"\n{below}:\n{text}"), encoding="utf-8")


def test_changed_flags_and_a_new_name_are_rolled_over_the_control_planes_and_nobody_notices(cluster: Lab) -> None:
    last, workers, since = leader(cluster), unit_ids(cluster, ("w1", "w2")), time.time()
    configure(cluster, "config", "  etcd: {flags: {snapshot-count: 9000}}\n"
                                 "  kube-apiserver: {flags: {event-ttl: 2h0m0s}}\n")
    configure(cluster, "api", f"  extra_sans: [{NAME}]\n")
    cluster.run("up", "--yes")
    events = cluster.events(since)
    seen = next(e["data"] for e in events if e["type"] == "availability")

    servers = {h: down(cluster, h, "kube-apiserver.service", since) for h in ADDRESSES}
    members = {h: down(cluster, h, "etcd.service", since) for h in ADDRESSES}
    order = sorted(servers, key=lambda h: servers[h][0])
    assert all(servers[a][1] <= servers[b][0] for a, b in itertools.pairwise(order)), f"two were down: {servers}"
    assert order[-1] == last, f"the leader comes last: {order}"
    for host in ADDRESSES:
        assert servers[host][0] < members[host][0] < members[host][1] < servers[host][1], (
            "an API server is stopped before its member, started after it, and goes down once")
    for host in NODES:
        out = drained(cluster, host, since)
        for server, (stopped, started) in servers.items():
            assert len(out[server]) == 2, f"HAProxy of {host}: {server} out and in {out[server]}"
            assert out[server][0] + 1 <= stopped and started <= out[server][1], (
                f"HAProxy of {host}: {server} was out {out[server]} and down {stopped, started}")
        assert all(out[a][1] <= out[b][0] for a, b in itertools.pairwise(order)), "one is out at a time"

    assert issued(events) == {(host, pki.APISERVER.path): f"names differ: +{NAME}" for host in ADDRESSES}
    for port, address in ((8443, "10.77.0.10"), *((6443, address) for address in ADDRESSES.values())):
        assert cluster.on("w2", "curl", "-sS", "--fail", "--max-time", "5", "--cacert", pki.CA, "--resolve",
                          f"{NAME}:{port}:{address}", f"https://{NAME}:{port}/readyz") == "ok"
    assert unit_ids(cluster, ("w1", "w2")) == workers
    after = at_once({verb: partial(cluster.json, verb) for verb in ("plan", "status")})
    assert after["plan"]["changes"] == [] and after["status"]["healthy"]
    figures.record("roll of etcd and kube-apiserver: one host, out of service",
                   [out[s][1] - out[s][0] for s in ADDRESSES], unit="s", attempts=seen["attempts"])
    figures.record("roll of etcd and kube-apiserver: failed attempts, cut requests, lost writes",
                   [seen["failures"], seen["cuts"], seen["lost"]], unit="", limit=0, attempts=seen["attempts"],
                   gap_ms=seen["gap_ms"], leader_changes=seen["leader_changes"])
    assert (seen["failures"], seen["cuts"], seen["lost"]) == (0, 0, 0), seen
    assert seen["leader_changes"] == 1, "the leader handed over once; nothing was elected"


def test_what_a_killed_run_left_out_of_service_is_seen_and_put_back(cluster: Lab) -> None:
    haproxy(cluster, "w1", "set server apiservers/cp2 state drain")
    said = at_once({"status": partial(cluster.run, "-o", "json", "status", check=False),
                    "plan": partial(cluster.run, "plan")})
    attention = json.loads(said["status"].stdout)["attention"]
    assert "cp2: left out of service in the HAProxy of w1: kubewright up" in attention
    assert "cp2 is left out of service in the HAProxy of w1: up puts it back" in said["plan"].stdout
    before = unit_ids(cluster)
    cluster.run("up", "--yes")
    assert out_of_service(cluster, "w1") == set()
    assert unit_ids(cluster) == before
    assert cluster.json("status")["healthy"]


@pytest.mark.full
def test_as_many_workers_go_at_a_time_as_may_be_unavailable_and_control_planes_alone(cluster: Lab) -> None:
    def steps(host: str) -> set[str]:
        return {s for s in cluster.on(host, "ls", "/var/lib/kubewright/steps").split() if ".node." in s}

    before = {h: steps(h) for h in NODES}
    text = cluster.file.read_text(encoding="utf-8")
    cluster.file.write_text(text.replace("kubelet: {", "kubelet: {maxPods: 100, "), encoding="utf-8")
    cluster.run("up", "--yes", "--max-unavailable", "2")
    new = {h: steps(h) - before[h] for h in NODES}
    assert all(len(of_host) == 1 for of_host in new.values()), new
    assert new["w1"] == new["w2"], "both workers were changed by one step"
    assert len(set.union(*new.values())) == 4, "each control plane had one of its own"
    assert cluster.json("status")["healthy"]
