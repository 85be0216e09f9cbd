"""What `config:` may speak of: the components, what each takes, and on which hosts it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from provisioner.model.cluster import Cluster, Host, Role

# The Kubernetes releases that can be had, and what goes with each. The catalogue of artifacts has the same versions, as
# a test asserts; and for each there is a table of what it takes, in provisioner/model/takes.
RELEASES: Mapping[str, Mapping[str, str]] = {
    "1.36.3": {"etcd": "3.6.16", "flannel": "0.28.10"},
}

_TAKES = Path(__file__).parent / "takes"
Runs = Callable[[Cluster, Host], bool]


@dataclass(frozen=True)
class Component:
    """One row: whose table of flags it has, which fields it takes, and where it runs (`nowhere`: it is a Pod's).

    `fields` maps a field to the kind of its value; `type` names a type of the table instead.
    """

    name: str
    runs: Runs | None
    where: str
    source: str = ""
    type: str = ""
    fields: Mapping[str, str] | None = None

    @property
    def has_flags(self) -> bool:
        return bool(self.source)


def _etcd(cluster: Cluster, host: Host) -> bool:
    return host.name in {h.name for h in cluster.etcd_hosts}


def _control_plane(cluster: Cluster, host: Host) -> bool:
    return Role.CONTROL_PLANE in host.roles


def _node(cluster: Cluster, host: Host) -> bool:
    return host.is_node


def _flannel(cluster: Cluster, host: Host) -> bool:
    return host.is_node and cluster.network.plugin == "flannel"


def _used(cluster: Cluster, host: Host) -> bool:
    return bool(host.roles) or _etcd(cluster, host)


def _balancer(cluster: Cluster, host: Host) -> bool:
    return cluster.api.vip is not None and host.name in {h.name for h in cluster.load_balancers}


# flannel's net-conf.json, of which flanneld reads names in any case; these are those of its documentation.
_BACKEND = {"Type": "enum:vxlan,host-gw", "VNI": "int", "Port": "int", "MTU": "int", "GBP": "bool", "Learning": "bool",
            "DirectRouting": "bool"}
FLANNEL_TYPES: Mapping[str, Mapping[str, str]] = {
    "NetConf": {"Network": "text", "SubnetLen": "int", "SubnetMin": "ip", "SubnetMax": "ip", "EnableIPv4": "bool",
                "EnableIPv6": "bool", "EnableNFTables": "bool", "IPv6Network": "text", "IPv6SubnetLen": "int",
                "IPv6SubnetMin": "text", "IPv6SubnetMax": "text", "Backend": "@Backend"},
    "Backend": _BACKEND,
}

_ON_CONTROL_PLANES, _ON_NODES = "control planes", "nodes (control planes and workers)"
TABLE = (
    Component("etcd", _etcd, "etcd hosts", source="etcd"),
    Component("kube-apiserver", _control_plane, _ON_CONTROL_PLANES, source="kubernetes"),
    Component("kube-controller-manager", _control_plane, _ON_CONTROL_PLANES, source="kubernetes"),
    Component("kube-scheduler", _control_plane, _ON_CONTROL_PLANES, source="kubernetes"),
    Component("kubelet", _node, _ON_NODES, source="kubernetes", type="KubeletConfiguration"),
    Component("kube-proxy", _node, _ON_NODES, source="kubernetes", type="KubeProxyConfiguration"),
    Component("containerd", _node, _ON_NODES, fields={}),
    Component("haproxy", _used, "every host with a role", fields={"inter": "haproxy-time", "maxconn": "int"}),
    Component("keepalived", _balancer, "load balancers with a VIP", fields={}),
    Component("flannel", _flannel, "nodes, with `plugin: flannel`", source="flannel", type="NetConf"),
    Component("coredns", None, "Pods", fields={"replicas": "int", "upstreams": "[]upstream"}),
    Component("metrics-server", None, "Pods", fields={"replicas": "int"}),
)
COMPONENTS = {row.name: row for row in TABLE}


@cache
def takes(source: str, kubernetes: str) -> Mapping[str, Any]:
    """Return the table of what `source` takes beside this Kubernetes: flags, gates, fields, admission plugins.

    KeyError if the release is not one of RELEASES.
    """
    version = kubernetes if source == "kubernetes" else RELEASES[kubernetes][source]
    table: dict[str, Any] = json.loads((_TAKES / f"{source}-{version}.json").read_text(encoding="utf-8"))
    return table


def version_of(component: Component, kubernetes: str) -> str:
    """Return which version of `component` goes with this Kubernetes, empty where nobody asks."""
    return kubernetes if component.source == "kubernetes" else RELEASES[kubernetes].get(component.source, "")


def types_of(component: Component, kubernetes: str) -> Mapping[str, Mapping[str, str]]:
    """Return the types by name whose fields `component` takes; its own is under its `type`, or under nothing."""
    if component.fields is not None:
        return {"": component.fields}
    if component.source == "flannel":
        return FLANNEL_TYPES
    fields: Mapping[str, Mapping[str, str]] = takes(component.source, kubernetes).get("fields", {})
    return fields
