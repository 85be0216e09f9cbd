"""Labels and taints of Nodes: both ways, and ours told from everybody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.errors import KubewrightError
from provisioner.model.cluster import Cluster
from provisioner.operate import nodes
from provisioner.operate.kube import ApiFault
from tests.fakes.api import MemoryApi, MemoryKube, node
from tests.unit.compile.compile_fixture import inventory

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "nodes.yaml").read_text())
PATH = "/api/v1/nodes/n1"


def cluster(case: dict[str, Any]) -> Cluster:
    host = {"address": "10.77.0.21", "roles": case["roles"], "labels": case.get("labels", {}),
            "taints": [taint(t) for t in case.get("taints", ())]}
    return inventory(hosts={"n1": host})


def taint(text: str) -> dict[str, str]:
    words, _, effect = text.rpartition(":")
    key, _, value = words.partition("=")
    return {"key": key, "effect": effect} | ({"value": value} if value else {})


def api(case: dict[str, Any]) -> MemoryApi:
    memory = MemoryApi()
    if "has" in case:
        spec = {"podCIDR": "10.244.1.0/24", "taints": [taint(t) for t in case["has"].get("taints", ())]}
        memory.put(PATH, node("n1", labels=case["has"].get("labels", {})) | {"spec": spec})
    if "ours" in case:
        data = {"n1": "\n".join(case["ours"]), "other": "label x\n"}
        memory.put(nodes.RECORD_PATH, {**nodes.RECORD, "data": data})
    return memory


def planned(case: dict[str, Any], memory: MemoryApi) -> list[tuple[str, str]]:
    kube = MemoryKube(memory)
    return [(c.action, c.reason) for c in nodes.node_changes(cluster(case), kube.nodes(), nodes.owned(kube))]


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_a_node_is_told_apart_from_the_inventory_mark_by_mark(case: dict[str, Any]) -> None:
    action = "change" if "has" in case else "add"
    assert planned(case, api(case)) == ([(action, ", ".join(case["plan"]))] if case["plan"] else [])


@pytest.mark.parametrize("case", [c for c in CASES if "has" in c], ids=[c["name"] for c in CASES if "has" in c])
def test_what_is_planned_is_done_and_the_second_plan_is_empty(case: dict[str, Any]) -> None:
    memory = api(case)
    nodes.apply_marks(MemoryKube(memory), cluster(case), ["n1"])
    live, then = memory.objects[PATH], case.get("then", case["has"])
    assert live["metadata"]["labels"] == then.get("labels", {})
    assert live["spec"]["taints"] == [taint(t) for t in then.get("taints", ())]
    assert live["spec"]["podCIDR"] == "10.244.1.0/24"
    assert planned(case, memory) == []
    assert memory.objects[nodes.RECORD_PATH]["data"]["other"] == "label x\n", "another Node's record is kept"


def test_what_a_killed_run_has_set_is_known_as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    case: dict[str, Any] = {"roles": ["worker"], "labels": {"disk": "ssd"}, "has": {}}
    memory = api(case)
    kube = MemoryKube(memory)
    real = kube.merge_patch

    def killed(path: str, body: Any) -> Any:
        real(path, body)
        raise KeyboardInterrupt

    monkeypatch.setattr(kube, "merge_patch", killed)
    with pytest.raises(KeyboardInterrupt):
        nodes.apply_marks(kube, cluster(case), ["n1"])
    assert memory.objects[PATH]["metadata"]["labels"]["disk"] == "ssd"
    del case["labels"]      # the person thinks better of it
    assert planned(case, memory) == [("change", "-label disk=ssd")]


def test_a_taint_that_a_controller_sets_meanwhile_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    case: dict[str, Any] = {"roles": ["worker"], "taints": ["a.b/c:NoSchedule"], "has": {}}
    memory = api(case)
    kube = MemoryKube(memory)
    real, theirs = kube.merge_patch, [taint("node.kubernetes.io/unreachable:NoExecute")]

    def crossed(path: str, body: Any) -> Any:
        if theirs:
            memory.answer("PATCH", PATH, {"spec": {"taints": [theirs.pop()]}})
        return real(path, body)

    monkeypatch.setattr(kube, "merge_patch", crossed)
    nodes.apply_marks(kube, cluster(case), ["n1"])
    assert memory.objects[PATH]["spec"]["taints"] == [
        taint("node.kubernetes.io/unreachable:NoExecute"), taint("a.b/c:NoSchedule")]


def test_a_node_that_never_stands_still_is_given_up_as_one_that_refuses_is(monkeypatch: pytest.MonkeyPatch) -> None:
    case: dict[str, Any] = {"roles": ["worker"], "has": {}}
    kube = MemoryKube(api(case))
    for status, said in ((409, "others changed it 5 times"), (403, "no")):
        def refused(path: str, body: Any, status: int = status) -> Any:
            raise ApiFault("PATCH", "no", status)

        monkeypatch.setattr(kube, "merge_patch", refused)
        with pytest.raises(KubewrightError, match=said):
            nodes.apply_marks(kube, cluster(case), ["n1"])


def test_a_taint_that_evicts_says_so_and_one_that_is_there_says_nothing() -> None:
    case: dict[str, Any] = {"roles": ["worker"], "taints": ["a.b/c=d:NoExecute", "x:NoSchedule"], "has": {}}
    memory = api(case)
    kube = MemoryKube(memory)
    (change,) = nodes.node_changes(cluster(case), kube.nodes(), {})
    assert change.impact == "Pods on n1 that do not tolerate a.b/c=d:NoExecute are evicted"
    memory.objects[PATH]["spec"]["taints"] = [taint("a.b/c=d:NoExecute")]
    (change,) = nodes.node_changes(cluster(case), kube.nodes(), {})
    assert change.impact == ""


def test_the_record_is_where_no_kubelet_may_write() -> None:
    """NodeRestriction lets a kubelet change its own Node: there it could have us take a taint of somebody else away."""
    case: dict[str, Any] = {"roles": ["worker"], "labels": {"disk": "ssd"}, "has": {}}
    memory = api(case)
    before = dict(memory.objects[PATH]["metadata"]["annotations"])
    nodes.apply_marks(MemoryKube(memory), cluster(case), ["n1"])
    assert memory.objects[PATH]["metadata"]["annotations"] == before
    assert "managed-by" not in str(memory.objects[nodes.RECORD_PATH]), "or it would be pruned as ours"
