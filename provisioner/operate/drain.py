"""Empty a Node of Pods: cordoned, each Pod asked to leave in the way that budgets may refuse, until none is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from provisioner.errors import GateFailed, KubewrightError, LockHeld
from provisioner.operate.kube import ApiFault, Kube

INTERVAL = 1.0
CORDONED = "kubewright.io/cordoned"     # on a Node that we cordoned: another's cordon is not undone
_MIRROR = "kubernetes.io/config.mirror"
_TOO_MANY = 429                         # what the API answers where a PodDisruptionBudget allows no more


def cordon(kube: Kube, host: str) -> None:
    """Let no new Pod come to a Node, and note on it that it was us; nothing where it is cordoned already."""
    node = kube.find(_node(host))
    if node is not None and not node.get("spec", {}).get("unschedulable"):
        ours = {"annotations": {CORDONED: "true"}}
        kube.merge_patch(_node(host), {"metadata": ours, "spec": {"unschedulable": True}})


def uncordon(kube: Kube, host: str) -> None:
    """Undo our own cordon."""
    node = kube.find(_node(host))
    if node is not None and CORDONED in (node["metadata"].get("annotations") or {}):
        kube.merge_patch(_node(host), {"metadata": {"annotations": {CORDONED: None}}, "spec": {"unschedulable": None}})


def drain(kube: Kube, host: str, timeout: float, stay: Callable[[], None] = lambda: None) -> int:
    """Cordon a Node and let its Pods leave; return how many did.

    Raises GateFailed with those that are still there after `timeout`, and what keeps each. Whatever ends it, the Node
    is uncordoned, but where another run has the lock: it may drain there. Pods of DaemonSets stay, as do those that
    have ended. `stay` may end the waiting by raising.
    """
    try:
        cordon(kube, host)
        return _until_empty(kube, host, timeout, stay)
    except LockHeld:
        raise
    except KubewrightError as fault:
        give_back(kube, [host], fault)
        raise


def give_back(kube: Kube, hosts: Sequence[str], fault: KubewrightError) -> None:
    """Uncordon the Nodes that we have cordoned, as what they were to leave for does not come; told with the fault."""
    for host in hosts:
        try:
            uncordon(kube, host)
            told = f"{host} takes Pods again"
        except KubewrightError as second:
            told = f"{host} stays cordoned: {second.message}; when the API answers: kubectl uncordon {host}"
        fault.details = (*fault.details, told)


def _until_empty(kube: Kube, host: str, timeout: float, stay: Callable[[], None]) -> int:
    """Evict until nothing is left that must leave; an API that does not answer is asked again until the timeout."""
    end, first = time.monotonic() + timeout, -1
    while True:
        unseen: ApiFault | None = None
        why: dict[str, str] = {}
        try:
            why = _evict_all(kube, host)
            first = len(why) if first < 0 else first
        except ApiFault as fault:
            if not _may_pass(fault):
                raise
            unseen = fault
        if not why and unseen is None:
            return max(first, 0)
        if time.monotonic() >= end:
            if unseen is not None:
                raise unseen
            raise GateFailed(
                f"{host}: draining: {len(why)} Pods are still there after {timeout:.0f} s", code="drain-blocked",
                details=[*(f"{name}: {reason}" for name, reason in sorted(why.items())), "nothing else was changed"],
                hint="kubectl get poddisruptionbudgets --all-namespaces")
        stay()
        time.sleep(INTERVAL)


def _may_pass(fault: ApiFault) -> bool:
    """Say whether the same request may be answered otherwise in a moment: none came, or the server failed in it."""
    return fault.status in (0, _TOO_MANY) or fault.status >= 500


def _evict_all(kube: Kube, host: str) -> dict[str, str]:
    """Ask every Pod that must leave to do so, and return why each is still there."""
    listed = kube.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{host}").get("items", ())
    found = {}
    for pod in listed:
        if not _must_leave(pod):
            continue
        name, namespace = str(pod["metadata"]["name"]), str(pod["metadata"]["namespace"])
        reason = "it is ending" if pod["metadata"].get("deletionTimestamp") else _evict(kube, namespace, name)
        if reason:
            found[f"{namespace}/{name}"] = reason
    return found


def _evict(kube: Kube, namespace: str, name: str) -> str:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    try:
        kube.request("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", body)
    except ApiFault as fault:
        if fault.status == 404:
            return ""
        if not _may_pass(fault):
            raise
        return fault.message
    return "it is ending"


def _must_leave(pod: Mapping[str, Any]) -> bool:
    owners = pod["metadata"].get("ownerReferences") or ()
    if _MIRROR in (pod["metadata"].get("annotations") or {}) or any(o.get("kind") == "DaemonSet" for o in owners):
        return False
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def _node(host: str) -> str:
    return f"/api/v1/nodes/{host}"
