"""What the inventory says of Nodes reaches those that live, and a Node that is gone comes back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import NODES, Lab, unit_ids, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
TAINT = {"key": "example.org/dedicated", "value": "db", "effect": "NoSchedule"}
CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
WORKER = "node-role.kubernetes.io/worker"


@pytest.fixture
def inventory(cluster: Lab) -> Iterator[str]:
    """The inventory as it was, and it is that again afterwards."""
    text = cluster.file.read_text(encoding="utf-8")
    yield text
    cluster.file.write_text(text, encoding="utf-8")


def node(lab: Lab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.kubectl("get", "node", name, "-o", "json"))
    return found


def taints(found: dict[str, Any]) -> list[dict[str, str]]:
    return list(found["spec"].get("taints", ()))


def marked(text: str, host: str, more: str, role: str = "") -> str:
    """Return the inventory with more fields, and a role more, for one host."""
    line = re.search(rf"^  {host}: {{.*roles: \[([^]]*)\].*}}$", text, re.MULTILINE)
    assert line
    changed = line[0].replace(f"[{line[1]}]", f"[{line[1]}{role}]")[:-1] + more + "}"
    return text.replace(line[0], changed)


@pytest.mark.full        # what is set and when is a unit test; that a Node has what was asked is proved by every `up`
def test_labels_taints_and_the_role_worker_come_and_go_and_no_unit_restarts(cluster: Lab, inventory: str) -> None:
    units = unit_ids(cluster)
    cluster.kubectl("label", "node", "w1", "example.org/theirs=yes")
    cluster.kubectl("taint", "node", "w1", "example.org/theirs=yes:PreferNoSchedule")
    theirs = {"key": "example.org/theirs", "value": "yes", "effect": "PreferNoSchedule"}
    try:
        text = marked(inventory, "w1", f", labels: {{example.org/disk: ssd}}, taints: [{json.dumps(TAINT)}]")
        cluster.file.write_text(marked(text, "cp1", "", ", worker"), encoding="utf-8")
        cluster.run("up", "--yes")
        w1, cp1 = node(cluster, "w1"), node(cluster, "cp1")
        assert w1["metadata"]["labels"]["example.org/disk"] == "ssd"
        assert sorted(taints(w1), key=str) == sorted([TAINT, theirs], key=str)
        assert taints(cp1) == [] and WORKER in cp1["metadata"]["labels"]
        assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
        cluster.kubectl("label", "node", "w1", "example.org/disk-")
        assert "+label example.org/disk=ssd" in cluster.run("plan").stdout
        cluster.file.write_text(inventory, encoding="utf-8")
        cluster.run("up", "--yes")
        w1, cp1 = node(cluster, "w1"), node(cluster, "cp1")
        assert "example.org/disk" not in w1["metadata"]["labels"] and taints(w1) == [theirs]
        assert w1["metadata"]["labels"]["example.org/theirs"] == "yes"
        assert taints(cp1) == [CONTROL_PLANE] and WORKER not in cp1["metadata"]["labels"]
        assert unit_ids(cluster) == units
        assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
    finally:
        cluster.kubectl("label", "node", "w1", "example.org/theirs-")
        cluster.kubectl("taint", "node", "w1", "example.org/theirs-")


@pytest.mark.full
def test_a_deleted_node_comes_back_by_up_as_it_was_and_its_pods_are_reached(cluster: Lab, inventory: str) -> None:
    cluster.file.write_text(marked(inventory, "w2", f", taints: [{json.dumps(TAINT)}]"), encoding="utf-8")
    cluster.run("up", "--yes")
    others = unit_ids(cluster, [name for name in NODES if name != "w2"])
    cluster.kubectl("delete", "node", "w2")
    plan = cluster.json("plan")
    assert {(c["host"], c["path"], c["reason"]) for c in plan["changes"]} == {
        ("w2", "kubelet.service", "its Node is gone"), ("w2", "flanneld.service", "its Node is gone")}
    cluster.run("up", "--yes")
    w2 = node(cluster, "w2")
    assert WORKER in w2["metadata"]["labels"] and taints(w2) == [TAINT]
    assert unit_ids(cluster, list(others)) == others
    assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
    subnet = w2["spec"]["podCIDR"].removesuffix("0/24")
    until(lambda: subnet in cluster.on("w1", "ip", "route"), 30, "w1 knows the way to w2's Pods")
    cluster.file.write_text(inventory, encoding="utf-8")
    cluster.run("up", "--yes")
    assert taints(node(cluster, "w2")) == []
