"""Kubernetes, etcd and containerd get another version while clients ask, write and watch, and none of them notices."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from tests.lab import figures
from tests.lab.bad_programs import EXITS, pin
from tests.lab.conftest import NODES, Lab, until
from tests.lab.informer import Watch
from tests.lab.load import LOOPBACK, VIP, Load, lost_writes, reads, writes
from tests.lab.newer import FROM, TO, ask_for, older
from tests.lab.witness import admin

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(1200)]

WATCHES = 5


@pytest.fixture
def served(cluster: Lab) -> Iterator[Lab]:
    """A cluster of the older version with a Deployment of three behind a Service, and room for a ledger."""
    with older(cluster):
        yield cluster


def series(lab: Lab) -> dict[str, list[Mapping[str, Any]]]:
    """Return who asks what: each host its own loopback, one of them the VIP, one writes, one uses the Deployment."""
    address = json.loads(lab.kubectl("get", "service", "served", "-o", "json"))["spec"]["clusterIP"]
    found: dict[str, list[Mapping[str, Any]]] = {host: [reads(LOOPBACK, rate=2)] for host in NODES}
    found["w1"].append(reads(VIP))
    found["cp1"].append(writes(0))
    found["cp2"].append({"name": "served", "kind": "http", "url": f"http://{address}/ready", "rate": 10.0,
                         "status": [200], "timeout": 5.0})
    return found


def stages(events: list[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds of each phase that did something."""
    return {e["phase"]: round(e["seconds"], 1) for e in events if e["type"] == "phase-done" and e["status"] == "ok"}


@pytest.mark.parametrize("repetition", range(5))
def test_a_minor_of_kubernetes_and_etcd_is_changed_and_no_client_notices(served: Lab, repetition: int) -> None:
    credentials = admin(served)
    ask_for(served, TO)
    plan = served.run("upgrade", "--no-soak", "--plan").stdout
    print(plan)
    began = time.time()
    with ExitStack() as stack:
        watches = [stack.enter_context(Watch(served, credentials)) for _ in range(WATCHES)]
        loads = {host: stack.enter_context(Load(served, host, of)) for host, of in series(served).items()}
        loads["w1"].run_until(5.0)
        asked = time.monotonic()
        done = served.run("upgrade", "--no-soak", "--yes", timeout=900)
        seconds = time.monotonic() - asked
        loads["w1"].run_until(loads["w1"].seconds() + 5.0)
    print(done.stderr)
    events = served.events(began)
    attempts = [a for load in loads.values() for a in load.attempts]
    failed = [a for a in attempts if a.why]
    by_name = {name: [a for a in attempts if a.series == name] for name in {a.series for a in attempts}}
    written = {f"n{a.number}" for a in by_name["writes"] if not a.why}
    lost = lost_writes(served, by_name["writes"])
    took = sorted(a.took for a in attempts if not a.why)
    figures.record("upgrade of a minor with etcd and containerd", [seconds], unit="s", limit=240, stages=stages(events),
                   drains=[o["reason"] for e in events if e["type"] == "changed"
                           for o in (e.get("data") or {}).get("objects", ()) if "is drained" in o["reason"]])
    figures.record("failed attempts during an upgrade", [float(len(failed))], unit="failed", limit=0,
                   attempts={name: len(of) for name, of in by_name.items()}, p999=took[int(len(took) * 0.999)],
                   slowest=took[-1], failures=[vars(a) for a in failed][:50])
    figures.record("lost writes and watch events during an upgrade",
                   [float(len(lost)), float(sum(len(written - set(w.seen)) for w in watches))], unit="", limit=0,
                   writes=len(written), reopened=[w.reopened for w in watches], expired=[w.expired for w in watches])
    nodes = json.loads(served.kubectl("get", "nodes", "-o", "json"))["items"]
    assert {n["status"]["nodeInfo"]["kubeletVersion"] for n in nodes} == {f"v{TO}"}
    assert not any(n["spec"].get("unschedulable") for n in nodes)
    assert served.json("plan")["changes"] == [] and served.json("status")["healthy"]
    assert not failed, failed[:20]
    assert not lost and all(written <= set(w.seen) for w in watches)
    assert all(w.expired == 0 and not w.disordered for w in watches)


def test_pods_that_may_not_leave_stop_it_and_when_they_may_it_goes_on(served: Lab) -> None:
    ask_for(served, TO)
    served.kubectl("patch", "poddisruptionbudget", "served", "--type=merge", "--patch", '{"spec": {"minAvailable": 3}}')
    until(lambda: "disruptionsAllowed: 0" in served.kubectl("get", "pdb", "served", "-o", "yaml"), 30, "none may go")
    stopped = served.run("upgrade", "--no-soak", "--yes", "--timeout", "20", check=False)
    print(stopped.stderr)
    assert stopped.returncode == 13 and "draining" in stopped.stderr and "default/served" in stopped.stderr
    nodes = json.loads(served.kubectl("get", "nodes", "-o", "json"))["items"]
    assert not any(n["spec"].get("unschedulable") for n in nodes)
    served.kubectl("patch", "poddisruptionbudget", "served", "--type=merge", "--patch", '{"spec": {"minAvailable": 1}}')
    served.run("upgrade", "--no-soak", "--yes", timeout=900)
    nodes = json.loads(served.kubectl("get", "nodes", "-o", "json"))["items"]
    assert {n["status"]["nodeInfo"]["kubeletVersion"] for n in nodes} == {f"v{TO}"}


@pytest.mark.parametrize(("name", "first"), [("kube-apiserver", "control-plane"), ("kubelet", "node")])
def test_a_version_that_does_not_start_goes_back_on_its_first_host(served: Lab, name: str, first: str) -> None:
    ask_for(served, TO)
    good = (served.directory / "artifacts.lock").read_bytes()
    pin(served, name, EXITS)
    began = time.time()
    with Load(served, "w1", [reads(VIP)]) as load:
        load.run_until(3.0)
        done = served.run("upgrade", "--no-soak", "--yes", check=False, timeout=900)
        load.run_until(load.seconds() + 3.0)
    print(done.stderr)
    events = served.events(began)
    back = next(e for e in events if e["type"] == "put-back")
    gate = next(e for e in events if e["type"] == "gate" and e["status"] == "failed" and e.get("host") == back["host"])
    figures.record(f"a {name} that exits: seconds from its failed gate to the old one, proved", [back["t"] - gate["t"]],
                   unit="s", limit=60, attempts=len(load.of(VIP)), failed=len(load.failed(VIP)))
    assert (done.returncode, back["status"], back["phase"]) == (13, "ok", first), back
    assert "still fine" in done.stderr and "kubewright" in done.stderr
    nodes = json.loads(served.kubectl("get", "nodes", "-o", "json"))["items"]
    assert {n["status"]["nodeInfo"]["kubeletVersion"] for n in nodes} == {f"v{FROM}"}
    assert not any(n["spec"].get("unschedulable") for n in nodes)
    assert back["t"] - gate["t"] <= 60 and not load.failed(VIP), load.failed(VIP)[:5]
    (served.directory / "artifacts.lock").write_bytes(good)
    served.run("upgrade", "--no-soak", "--yes", timeout=900)
    assert served.json("plan")["changes"] == []
