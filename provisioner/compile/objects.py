"""The Kubernetes objects that we own: who may do what, cluster DNS, and what measures the use of nodes and Pods."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from provisioner.compile import networks, pki
from provisioner.compile.context import ClusterContext
from provisioner.compile.control_plane import TLS_MIN_VERSION
from provisioner.compile.load_balancer import HOSTS
from provisioner.compile.parts import MANAGED_BY, managed
from provisioner.errors import InventoryRefused
from provisioner.model.components import BY_NAME
from provisioner.model.desired import KubeObject
from provisioner.model.operators import user_names

PROBER_NAMESPACE, PROBER = "kubewright-prober", "prober"
HOSTS_LIST = f"ConfigMap kube-system/{HOSTS}"      # a host that is done alone is named there all the same
RECORD = "kubewright-objects-"      # and the phase
COREDNS_DEFAULTS: dict[str, Any] = {"replicas": 2, "upstreams": ["/etc/resolv.conf"]}
METRICS_SERVER_DEFAULTS: dict[str, Any] = {"replicas": 2}


def objects(site: ClusterContext, arches: Sequence[str], *, resolves: bool = True) -> tuple[KubeObject, ...]:
    """Return the objects in the order in which they are applied; `arches` are those of the nodes.

    `resolves`: some node knows a DNS server for names outside the cluster.
    """
    addons = (*_coredns(site, arches, resolves), *_metrics_server(site, arches)) if arches else ()
    phases = [made for made in (tuple(_access(site)), addons) if made]
    return tuple(one for made in phases for one in (*made, record(made)))


def record(made: Sequence[KubeObject]) -> KubeObject:
    """Return the object that remembers, in the cluster, what a phase applied: only what stands there is ever pruned.

    It is applied last in its phase, after what is no longer desired was deleted.
    """
    lines = sorted(recorded_as(o.body) for o in made)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"objects": "".join(f"{line}\n" for line in lines)},
            "metadata": {"name": f"{RECORD}{made[0].phase}", "namespace": "kube-system", "labels": dict(MANAGED_BY)}}
    return KubeObject(made[0].phase, body)


def is_record(made: KubeObject) -> bool:
    """Say whether an object is such a record."""
    return made.identity.startswith(f"ConfigMap kube-system/{RECORD}")


def recorded_as(body: Mapping[str, Any]) -> str:
    """Return an object's line in the record: its apiVersion, its kind, and `namespace/name` or its name."""
    meta = body["metadata"]
    name = f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else meta["name"]
    return f"{body['apiVersion']} {body['kind']} {name}"


def _access(site: ClusterContext) -> Iterator[KubeObject]:
    yield from managed("access", "access.yaml", admin_group=pki.ADMIN_GROUP, kubelet_user=pki.KUBELET_CLIENT_USER,
                        operators=sorted(user_names(site.cluster.operators).values()))
    yield from managed("access", "hosts.yaml", name=HOSTS, reader=pki.HAPROXY.common_name,
                       hosts=sorted(host.name for host in site.cluster.machines if host.roles))
    yield from networks.of(site.cluster).objects(site)
    yield from managed("access", "prober.yaml", namespace=PROBER_NAMESPACE, account=PROBER)


def _coredns(site: ClusterContext, arches: Sequence[str], resolves: bool) -> Iterator[KubeObject]:
    # Told to forward to nobody, CoreDNS does not start.
    values = COREDNS_DEFAULTS | ({} if resolves else {"upstreams": []}) | site.cluster.config.get("coredns", {})
    yield from managed("addons", "coredns.yaml", image=_image(site, "coredns", arches),
                       domain=site.cluster.network.domain, dns_ips=site.cluster.dns_ips, **values)


def _metrics_server(site: ClusterContext, arches: Sequence[str]) -> Iterator[KubeObject]:
    values = METRICS_SERVER_DEFAULTS | site.cluster.config.get("metrics-server", {})
    made = managed("addons", "metrics-server.yaml", image=_image(site, "metrics-server", arches),
                    tls_min_version=TLS_MIN_VERSION, **values,
                    ca_bundle=base64.b64encode(site.public["ca.crt"].encode()).decode())
    leaf = pki.metrics_server(site.cluster)
    yield from (replace(o, certificate=leaf) if o.body["kind"] == "Secret" else o for o in made)


def _image(site: ClusterContext, component: str, arches: Sequence[str]) -> str:
    """Return the reference of a component's image, which must be the same for every architecture of the nodes."""
    archive = BY_NAME[component].image
    images = {site.artifacts[key].image for arch in arches if (key := (archive, arch)) in site.artifacts}
    if len(images) != 1:
        raise InventoryRefused(
            f"artifacts.lock has {len(images)} references for {archive}; one is needed", code="artifact-not-locked",
            hint=f"kubewright artifacts build --component {component} --write-lock")
    return images.pop()
