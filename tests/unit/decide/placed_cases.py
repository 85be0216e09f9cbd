"""API objects of the drain cases, filled up to what every object has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provisioner.model.draining import Placed
from tests.fakes.api import node as api_node

NODES: list[dict[str, Any]] = [{"name": "w1"}, {"name": "w2"}]


def node(case: Mapping[str, Any]) -> dict[str, Any]:
    made = api_node(case["name"], ready=case.get("ready", True), labels=case.get("labels", {}))
    made["spec"] = {"taints": case.get("taints", [])} | ({"unschedulable": True} if case.get("unschedulable") else {})
    made["status"]["allocatable"] = case.get("allocatable", {"cpu": "2", "memory": "4Gi", "pods": "110"})
    return made


def pod(case: Mapping[str, Any]) -> dict[str, Any]:
    meta = case["metadata"]
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]} | case.get("status", {})
    return {"metadata": {"uid": f"{meta['namespace']}-{meta['name']}", **meta}, "status": status,
            "spec": {"containers": [{"name": "main"}], "nodeName": case.get("at", "w1"), **case.get("spec", {})}}


def placed(case: Mapping[str, Any]) -> Placed:
    return Placed([node(n) for n in case.get("nodes", NODES)], [pod(p) for p in case["pods"]],
                  case.get("budgets", ()), case.get("claims", ()), case.get("volumes", ()))
