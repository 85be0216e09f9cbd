"""Runs for the tests of what is made of their events: recorded ones, and one whose every word is an attack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provisioner.report.story import Story, story_of

CASES = Path(__file__).parents[2] / "cases" / "runs"
RECORDED = sorted(CASES.glob("*.jsonl"))
ATTACK = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}</title></style>"


def told(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.open(encoding="utf-8")]


def recorded(name: str) -> Story:
    """Return the story of one recorded run."""
    events = told(CASES / f"{name}.jsonl")
    return story_of(next(e["message"] for e in events if e["type"] == "run-start"), events)


def event(type_: str, t: float, **fields: Any) -> dict[str, Any]:
    return {"v": 1, "type": type_, "t": t, **fields}


def small(evil: str = "") -> list[dict[str, Any]]:
    """Return the events of a run with one of everything, on two hosts; `evil` is added to every text there is."""
    w1, etcd, node = f"w1{evil}", f"etcd{evil}", f"node{evil}"
    change = {"kind": f"file{evil}", "path": f"/etc/x{evil}", "action": "change", "reason": f"-a 1, +a 2{evil}",
              "result": "done", "diff": f"--- a\n+++ b\n-a: 1{evil}\n+a: 2{evil}\n @@"}
    stale = {"kind": "unit", "path": "x.service", "action": "restart", "reason": "/etc/x", "result": f"stale{evil}"}
    item = {"identity": f"ConfigMap kube-system/x{evil}", "action": "add", "reason": "missing", "result": "done"}
    curve = {"attempts": [2, 2, 0, 2], "failures": [0, 1, 0, 0], "slowest_ms": [4, 9, 0, 300]}
    series = {"series": f"vip{evil}", "host": w1, "attempts": 6, "failures": 1, "gap_ms": 700, "gap_at": 1.2,
              "slowest_ms": 300, "cuts": 0, "reopened": 0, "reasons": {f"refused{evil}": 1}}
    return [
        event("run-start", 1000.0, message="r", data={
            "cluster": f"lab{evil}", "kubernetes": f"1.36.3{evil}", "phases": [etcd, node, "verify"],
            "hosts": ["cp1", w1], "origin": {"verb": f"up{evil}", "who": f"ann{evil}", "machine": f"desk{evil}"}}),
        event("phase-start", 1000.0, phase=etcd, message=f"the members{evil}"),
        event("host-start", 1001.0, phase=etcd, host="cp1", data={"changes": 1}),
        event("host-done", 1003.0, phase=etcd, host="cp1", status="ok", seconds=2.0),
        event("gate", 1005.0, phase=etcd, host="cp1", status="ok", seconds=1.5,
              data={"when": "after", "proved": [f"etcd.service{evil}", "etcd /readyz"]}),
        event("gate", 1006.0, phase=etcd, status="ok", seconds=0.5,
              data={"when": "after", "proved": ["one etcd cluster"]}),
        event("phase-done", 1006.0, phase=etcd, status="ok", message=f"1 host, 1 change{evil}", seconds=6.0),
        event("diagnostic", 1006.5, host=w1, message=f"HAProxy does not answer{evil}"),
        event("phase-start", 1007.0, phase=node, message="kubelet"),
        event("host-start", 1007.0, phase=node, host=w1, data={"changes": 2}),
        event("host-done", 1009.0, phase=node, host=w1, status="failed", message=f"applying: no{evil}", seconds=2.0),
        event("changed", 1009.0, phase=node, host=w1, data={"changes": [change, stale]}),
        event("changed", 1009.0, phase=node, data={"objects": [item]}),
        event("gate", 1010.0, phase=node, host=w1, status="failed", seconds=0.8, message=f"{w1}: gate: not so{evil}",
              data={"when": "after", "proved": ["kubelet"]}),
        event("phase-done", 1010.0, phase=node, status="failed", message=f"w1: no{evil}", seconds=3.0),
        event("availability", 1010.0, status="failed", seconds=8.0, message=f"1 of 6 attempts failed{evil}", data={
            "began": 1002.0, "seconds": 8.0, "attempts": 6, "failures": 1, "gap_ms": 700, "cuts": 0, "lost": 0,
            "leader_changes": 0, "details": [f"vip from w1{evil}"], "series": [series],
            "timeline": {"seconds": 2.0, "curves": {f"vip{evil}": curve}}}),
        event("run-end", 1010.0, phase=node, status="failed", message=f"w1: applying: no{evil}", seconds=10.0, data={
            "not_started": [f"verify{evil}"], "error": {"code": f"step-failed{evil}", "details": [f"a detail{evil}"],
                                                         "hint": f"kubewright logs w1 kubelet{evil}"}}),
    ]
