"""The labels of a Node that say its roles: a kubelet may not set them itself (NodeRestriction), so `up` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.model.cluster import Cluster, Role
from provisioner.model.plan import ObjectChange
from provisioner.operate.kube import Kube

PHASE = "verify"
_PREFIX = "node-role.kubernetes.io/"
_KIND = "Node "


def label_changes(cluster: Cluster, nodes: Sequence[Mapping[str, Any]] | None) -> tuple[ObjectChange, ...]:
    """Return which of the inventory's Nodes lack a label of their roles; without an API (None) all do."""
    labels = {str(n["metadata"]["name"]): n["metadata"].get("labels", {}) for n in nodes or ()}
    changes = []
    for host in cluster.nodes:
        missing = [k for k, v in role_labels(cluster, host.name).items() if labels.get(host.name, {}).get(k) != v]
        if missing:
            changes.append(ObjectChange(
                PHASE, f"{_KIND}{host.name}", "change" if host.name in labels else "add",
                ", ".join(f"+{key}" for key in missing), diff="\n".join(f"+metadata.labels.{k}: " for k in missing)))
    return tuple(changes)


def role_labels(cluster: Cluster, host: str) -> dict[str, str]:
    """Return the labels that say what a Node is for, as kubectl shows them under ROLES."""
    roles = cluster.machine(host).roles & {Role.CONTROL_PLANE, Role.WORKER}
    return {f"{_PREFIX}{role}": "" for role in sorted(roles)}


def apply_labels(kube: Kube, cluster: Cluster, changes: Sequence[ObjectChange]) -> None:
    """Set the labels of the Nodes that the changes name, and no other field of them."""
    for change in changes:
        host = change.identity.removeprefix(_KIND)
        kube.merge_patch(f"/api/v1/nodes/{host}", {"metadata": {"labels": role_labels(cluster, host)}})
