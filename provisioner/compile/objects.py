"""The Kubernetes objects that we own: who may do what, and cluster DNS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from provisioner.compile import pki
from provisioner.compile.context import CLUSTER_DOMAIN, ClusterContext
from provisioner.compile.render import documents
from provisioner.errors import InventoryRefused
from provisioner.model.desired import KubeObject

PROBER_NAMESPACE, PROBER = "kubewright-prober", "prober"
MANAGED_BY = {"app.kubernetes.io/managed-by": "kubewright"}
COREDNS_DEFAULTS: dict[str, Any] = {"replicas": 2, "upstreams": ["/etc/resolv.conf"]}


def objects(site: ClusterContext, arches: Sequence[str]) -> tuple[KubeObject, ...]:
    """Return the objects in the order in which they are applied; `arches` are those of the nodes."""
    return (*_access(site), *_coredns(site, arches))


def _access(site: ClusterContext) -> Iterator[KubeObject]:
    yield from _managed("access", "access.yaml", admin_group=pki.ADMIN_GROUP, kubelet_user=pki.KUBELET_CLIENT_USER)
    if site.cluster.network.plugin == "flannel":
        yield from _managed("access", "flannel.yaml", user=pki.FLANNEL_USER)
    yield from _managed("access", "prober.yaml", namespace=PROBER_NAMESPACE, account=PROBER)


def _coredns(site: ClusterContext, arches: Sequence[str]) -> Iterator[KubeObject]:
    if not arches:
        return
    images = {site.artifacts[key].image for arch in arches if (key := ("coredns.tar", arch)) in site.artifacts}
    if len(images) != 1:
        raise InventoryRefused(f"artifacts.lock has {len(images)} references for coredns.tar; one is needed",
                               hint="kubewright artifacts build", code="artifact-not-locked")
    values = COREDNS_DEFAULTS | site.cluster.config.get("coredns", {})
    yield from _managed("addons", "coredns.yaml", image=images.pop(), domain=CLUSTER_DOMAIN,
                        dns_ip=site.cluster.dns_ip, **values)


def _managed(phase: str, manifest: str, **values: Any) -> Iterator[KubeObject]:
    for body in documents(manifest, **values):
        body["metadata"]["labels"] = {**body["metadata"].get("labels", {}), **MANAGED_BY}
        yield KubeObject(phase=phase, body=body)
