"""What keeps a Pod from being Ready, from statuses as an API server shows them."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.operate.pods import last_warning, troubles, why_not_ready
from tests.fakes.api import MemoryApi, MemoryKube

LABELS = {"k8s-app": "kube-dns"}
DIED = {"reason": "Error", "exitCode": 1, "message": "[INFO] plugin/reload: ...\nplugin/forward: no valid upstream "
        "addresses found\n"}


def pod(name: str = "coredns-a", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": LABELS}, "spec": {"nodeName": "w1"}, "status": status}


def container(**fields: Any) -> dict[str, Any]:
    return pod(phase="Running", containerStatuses=[{"name": "coredns", **fields}])


@pytest.mark.parametrize(("seen", "why"), [
    (pod(conditions=[{"type": "Ready", "status": "True"}]), ""),
    (container(state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}},
               lastState={"terminated": DIED}), "CrashLoopBackOff: plugin/forward: no valid upstream addresses found"),
    (container(state={"terminated": DIED}), "Error: plugin/forward: no valid upstream addresses found"),
    (container(state={"waiting": {"reason": "ErrImageNeverPull", "message": "Container image is not present"}}),
     "ErrImageNeverPull: Container image is not present"),
    (container(state={"waiting": {"reason": "ContainerCreating"}}), "ContainerCreating"),
    (pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                                       "message": "0/5 nodes are available: 5 node(s) had untolerated taint"}]),
     "0/5 nodes are available: 5 node(s) had untolerated taint"),
    (pod(phase="Running", conditions=[{"type": "Ready", "status": "False",
                                       "message": "containers with unready status: [coredns]"}],
         containerStatuses=[{"name": "coredns", "state": {"running": {}}}]),
     "containers with unready status: [coredns]"),
    (pod(), "no status yet"),
])
def test_the_cause_is_told_in_the_words_of_who_knows(seen: dict[str, Any], why: str) -> None:
    assert why_not_ready(seen) == why


def test_a_pod_on_its_way_out_is_no_trouble() -> None:
    leaving = container(state={"terminated": DIED})
    leaving["metadata"]["deletionTimestamp"] = "2099-01-01T00:00:00Z"
    assert why_not_ready(leaving) == ""


def test_a_sandbox_that_cannot_be_made_is_told_by_its_newest_warning() -> None:
    api = MemoryApi()
    for name in ("coredns-a", "coredns-b"):
        api.put(f"/api/v1/namespaces/kube-system/pods/{name}",
                pod(name, phase="Pending", containerStatuses=[{"state": {"waiting": {"reason": "ContainerCreating"}}}]))
    for number, text in enumerate(("old", 'plugin type="calico" failed (add)')):
        api.put(f"/api/v1/namespaces/kube-system/events/{number}", {
            "metadata": {"name": str(number)}, "reason": "FailedCreatePodSandBox", "message": text,
            "lastTimestamp": f"2099-01-01T00:00:0{number}Z"})
    assert troubles(MemoryKube(api), "kube-system", "k8s-app=kube-dns") == [
        'coredns-a on w1, coredns-b on w1: FailedCreatePodSandBox: plugin type="calico" failed (add)']
    assert last_warning([]) == ""
