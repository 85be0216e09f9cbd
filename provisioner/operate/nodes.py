"""Labels and taints of Nodes: what the inventory says is set over the API, and ours is told from everybody else's.

A kubelet hands over labels and taints when it registers, and never again. What we have set is recorded in a ConfigMap:
not on the Node, where its own kubelet could write it and have us take a taint of somebody else away. The record is
written before a Node is touched, so that what a killed run has set is known as ours as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from provisioner.compile import kubelet, removal
from provisioner.compile.networks import ANNOUNCEMENTS
from provisioner.errors import KubewrightError
from provisioner.model.cluster import Cluster, Host
from provisioner.model.plan import ObjectChange
from provisioner.operate.kube import ApiFault, Kube

PHASE: Final = "verify"
KIND = "Node "
# Without the label that our objects are found by: it is a record, and no inventory asks for it.
RECORD: Mapping[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap",
                             "metadata": {"name": "kubewright-nodes", "namespace": "kube-system"}}
RECORD_PATH = "/api/v1/namespaces/kube-system/configmaps/kubewright-nodes"
ATTEMPTS = 5            # at a Node that others write to as well: its controllers and its kubelet
_LABEL, _TAINT = "label ", "taint "

Marks = Mapping[str, str]
"""`label KEY` or `taint KEY:EFFECT` -> its value."""
Owned = Mapping[str, frozenset[str]]
"""Node -> the names of the marks on it that are ours."""


def wanted(host: Host) -> Marks:
    """Return the marks that the inventory gives a host's Node."""
    return ({f"{_LABEL}{key}": value for key, value in kubelet.labels(host).items()}
            | {f"{_TAINT}{taint.key}:{taint.effect}": taint.value for taint in kubelet.taints(host)})


def marks(node: Mapping[str, Any]) -> Marks:
    """Return every mark that a Node has, whoever set it."""
    return ({f"{_LABEL}{key}": str(value) for key, value in (node["metadata"].get("labels") or {}).items()}
            | {_name(taint): str(taint.get("value") or "") for taint in _taints(node)})


def _taints(node: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return node.get("spec", {}).get("taints") or ()


def _name(taint: Mapping[str, Any]) -> str:
    return f"{_TAINT}{taint['key']}:{taint['effect']}"


def is_connected(node: Mapping[str, Any]) -> bool:
    """Say whether its Pod network has written on the Node how its Pods are reached; it does so once, when it starts."""
    return not ANNOUNCEMENTS.isdisjoint(node["metadata"].get("annotations") or {})


def owned(kube: Kube) -> Owned:
    """Return what is recorded as ours; nothing where nothing was recorded yet."""
    record = kube.find(RECORD_PATH) or {}
    return {node: frozenset(text.splitlines()) for node, text in (record.get("data") or {}).items()}


def node_changes(cluster: Cluster, nodes: Sequence[Mapping[str, Any]] | None, ours: Owned) -> tuple[ObjectChange, ...]:
    """Return what the Nodes of the inventory lack, and what of ours they should not have any more.

    Pure. Without an API (None) everything is to add.
    """
    live = {str(node["metadata"]["name"]): marks(node) for node in nodes or ()}
    changes = []
    for host in cluster.nodes:
        want, have = wanted(host), live.get(host.name, {})
        lines = list(_lines(want, have, ours.get(host.name, frozenset())))
        if lines:
            changes.append(ObjectChange(
                PHASE, f"{KIND}{host.name}", "change" if host.name in live else "add", ", ".join(lines),
                diff="\n".join(lines), impact=_impact(host.name, want, have)))
    return tuple(changes)


def removals(live: Collection[str], hosts: Iterable[str], drained: Collection[str] = ()) -> tuple[ObjectChange, ...]:
    """Return the Nodes to delete: those of hosts whose kubelet is taken away, some of them `drained` before."""
    return tuple(ObjectChange(
        removal.PHASE, f"{KIND}{host}", "remove", "its host is no node any more",
        impact="" if host in drained else
        f"Pods on {host} end when its kubelet goes: drain it before if they should move first")
        for host in hosts if host in live)


def delete(kube: Kube, host: str) -> None:
    """Delete a host's Node, whether or not it is there."""
    kube.delete({"apiVersion": "v1", "kind": "Node", "metadata": {"name": host}})


def _lines(want: Marks, have: Marks, ours: Collection[str]) -> Iterable[str]:
    for name, value in want.items():
        if name not in have:
            yield f"+{_said(name, value)}"
        elif have[name] != value:
            yield f"{name} {have[name] or '(empty)'} → {value or '(empty)'}"
        elif name not in ours:
            yield f"{_said(name, value)} is ours from now on"
    for name in sorted(set(ours) - set(want)):
        yield f"-{_said(name, have[name])}" if name in have else f"{name} is not ours any more"


def _said(name: str, value: str) -> str:
    if name.startswith(_LABEL):
        return f"{name}={value}" if value else name
    key, _, effect = name.rpartition(":")
    return f"{key}={value}:{effect}" if value else name


def _impact(host: str, want: Marks, have: Marks) -> str:
    """Say whose Pods leave a Node for a taint that it gets; those of other effects leave what runs alone."""
    evicts = [_said(n, v).removeprefix(_TAINT) for n, v in want.items()
              if n.startswith(_TAINT) and n.endswith(":NoExecute") and have.get(n) != v]
    return f"Pods on {host} that do not tolerate {', '.join(evicts)} are evicted" if evicts else ""


def apply_marks(kube: Kube, cluster: Cluster, hosts: Sequence[str]) -> None:
    """Let these Nodes have the inventory's marks and lose those of ours that it has no more; the rest is left alone.

    Each Node is written as it was read, or read again: its controllers set taints of their own in the same list.
    """
    wants = {host: wanted(cluster.machine(host)) for host in hosts}
    before = owned(kube)
    during = {host: before.get(host, frozenset()) | set(want) for host, want in wants.items()}
    _record(kube, before, {**before, **during})
    for host, want in wants.items():
        _mark(kube, host, want, during[host])
    _record(kube, {**before, **during}, {**before, **{host: frozenset(want) for host, want in wants.items()}})


def _record(kube: Kube, there: Owned, ours: Owned) -> None:
    if ours != there:
        kube.apply({**RECORD, "data": {node: "".join(f"{n}\n" for n in sorted(names)) for node, names in ours.items()}})


def _mark(kube: Kube, host: str, want: Marks, ours: Collection[str]) -> None:
    path = f"/api/v1/nodes/{host}"
    for _ in range(ATTEMPTS):
        node = kube.get(path)
        patch = patch_of(node, want, ours)
        if not patch:
            return
        version = node["metadata"].get("resourceVersion")
        try:
            kube.merge_patch(path, {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": version}})
            return
        except ApiFault as fault:
            if fault.status != 409:     # somebody was faster
                raise
    raise KubewrightError(f"Node {host}: setting labels and taints: others changed it {ATTEMPTS} times meanwhile",
                          code="node-contended", hint="kubewright up")


def patch_of(node: Mapping[str, Any], want: Marks, ours: Collection[str]) -> dict[str, Any]:
    """Return the merge patch that gives a Node what is wanted and takes what else is ours; empty for nothing to do."""
    have = marks(node)
    gone = {name for name in set(ours) - set(want) if name in have}
    differ = {name: value for name, value in want.items() if have.get(name) != value}
    labels: dict[str, str | None] = {n.removeprefix(_LABEL): v for n, v in differ.items() if n.startswith(_LABEL)}
    labels |= {name.removeprefix(_LABEL): None for name in gone if name.startswith(_LABEL)}
    patch: dict[str, Any] = {"metadata": {"labels": labels}} if labels else {}
    if any(name.startswith(_TAINT) for name in (*gone, *differ)):
        kept = [taint for taint in _taints(node) if _name(taint) not in gone and _name(taint) not in differ]
        patch["spec"] = {"taints": [*kept, *(_taint(n, v) for n, v in differ.items() if n.startswith(_TAINT))]}
    return patch


def _taint(name: str, value: str) -> dict[str, str]:
    key, _, effect = name.removeprefix(_TAINT).rpartition(":")
    return {"key": key, "effect": effect} | ({"value": value} if value else {})
