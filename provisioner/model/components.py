"""The components: one row each, and everything that others need to know of one.

A new component is a row here, its part in provisioner/compile (listed in host.py, or in objects.py for what runs in
Pods), and its templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from provisioner.model import ports
from provisioner.model.cluster import Cluster, Host, Role
from provisioner.model.families import DEFAULT, System
from provisioner.model.phases import PhaseName
from provisioner.model.releases import beside, takes


@dataclass(frozen=True)
class Place:
    """Which hosts run a component: in words, and as a question. `prepares`: a host without roles is made ready for it.

    `systems`: of which systems they are, which a host alone knows of itself where the inventory does not say it.
    """

    says: str
    holds: Callable[[Cluster, Host], bool]
    prepares: bool = False
    systems: Callable[[System], bool] = lambda system: True


@dataclass(frozen=True)
class Port:
    """A TCP port of provisioner/model/ports.py that a component listens on: where, and who connects."""

    number: int
    clients: str
    at: str = "loopback"

    @property
    def name(self) -> str:
        return ports.NAMES[self.number]

    @property
    def loopback(self) -> bool:
        """Say whether nobody but the host itself reaches it."""
        return self.at == "loopback"


@dataclass(frozen=True)
class Answer:
    """What a component answers where it serves, over HTTPS with the name of the health client; a gate asks it.

    `outward`: asked at the host's own address, not at loopback.
    """

    name: str
    kind: Literal["tcp", "http", "https"]
    port: int
    path: str = ""
    outward: bool = False


@dataclass(frozen=True)
class Component:
    """One row.

    `units` are what systemd runs of it, the one that listens first; `packages` bring what it needs, its unit too where
    that has a package's name. `modules` are the kernel's. `interrupts` says what is away while it restarts: hosts where
    it does are worked on one after the other. `elected`: one of its kind acts, the one that has the lease. `image` is
    the archive that its Pods run. `network` is the `network.plugin` that brings it; empty: it is there with any.

    For `config:`: whose table of flags it has (`source`), and which fields it takes: `fields` maps a field to the kind
    of its value, `type` names a type of the table instead.
    """

    name: str
    place: Place
    phase: PhaseName
    units: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()
    interrupts: str = ""
    elected: bool = False
    image: str = ""
    network: str = ""
    source: str = ""
    type: str = ""
    fields: Mapping[str, str] | None = None

    @property
    def has_flags(self) -> bool:
        return bool(self.source)

    @property
    def is_configured(self) -> bool:
        """Say whether `config:` may name it, if only to be told that it takes nothing."""
        return self.has_flags or self.fields is not None

    @property
    def in_pods(self) -> bool:
        """Say whether it runs in Pods: on no host for itself, and not before there is a Pod network."""
        return self.place is PODS

    def is_used(self, cluster: Cluster) -> bool:
        """Say whether the cluster has it at all: a Pod network only where the inventory asks for that one."""
        return self.network in ("", cluster.network.plugin)

    def runs_on(self, cluster: Cluster, host: Host) -> bool:
        """Say whether the host runs it."""
        return self.is_used(cluster) and self.place.holds(cluster, host)

    def is_prepared_on(self, cluster: Cluster, host: Host) -> bool:
        """Say whether the host has the packages and kernel modules for it: one without roles may become a node."""
        return self.runs_on(cluster, host) or (
            self.place.prepares and self.is_used(cluster) and not _used(cluster, host))


def _etcd(cluster: Cluster, host: Host) -> bool:
    return host.name in {h.name for h in cluster.etcd_hosts}


def _used(cluster: Cluster, host: Host) -> bool:
    return bool(host.roles) or _etcd(cluster, host)


def _balancer(cluster: Cluster, host: Host) -> bool:
    return host.name in {h.name for h in cluster.vip_holders}


def _takes_snapshots(cluster: Cluster, host: Host) -> bool:
    said = {**cluster.config.get("etcd", {}), **host.spec.config.get("etcd", {})}
    return _etcd(cluster, host) and bool(said.get("snapshotEvery"))


SNAPSHOT_HOSTS = Place("etcd hosts whose `config.etcd.snapshotEvery` says how often", _takes_snapshots)
ETCD_HOSTS = Place("etcd hosts", _etcd)
CONTROL_PLANES = Place("control planes", lambda cluster, host: Role.CONTROL_PLANE in host.roles)
CLOSED = Place("every host with a role, with `firewall: ours`",
               lambda cluster, host: cluster.firewall == "ours" and _used(cluster, host))
NODES = Place("nodes (control planes and workers)", lambda cluster, host: host.is_node, prepares=True)
EVERYWHERE = Place("every host with a role", _used)
VIP_HOLDERS = Place("load balancers with a VIP", _balancer)
TIMED = Place("hosts of a cluster with `time.servers`",
              lambda cluster, host: bool(cluster.time.servers) and _used(cluster, host))
TRUSTING = Place("nodes of a cluster with `trust`", lambda cluster, host: bool(cluster.trust) and host.is_node)
CONFINED = Place("hosts with a role whose system comes with SELinux", _used,
                 systems=lambda system: system.places.selinux)
PODS = Place("Pods", lambda cluster, host: False)

# flannel's net-conf.json, of which flanneld reads names in any case; these are those of its documentation.
_BACKEND = {"Type": "enum:vxlan,host-gw", "VNI": "int", "Port": "int", "MTU": "int", "GBP": "bool", "Learning": "bool",
            "DirectRouting": "bool"}
FLANNEL_TYPES: Mapping[str, Mapping[str, str]] = {
    "NetConf": {"Network": "text", "SubnetLen": "int", "SubnetMin": "ip", "SubnetMax": "ip", "EnableIPv4": "bool",
                "EnableIPv6": "bool", "EnableNFTables": "bool", "IPv6Network": "text", "IPv6SubnetLen": "int",
                "IPv6SubnetMin": "text", "IPv6SubnetMax": "text", "Backend": "@Backend"},
    "Backend": _BACKEND,
}

_CHECKS = "health checks"
_EVERY, _OWN = "every address", "their address"
_ONE_ACTS = "what it does, if it is the one of its kind that acts: until another has the lease"

# In the order in which a host's packages and kernel modules are made.
TABLE: tuple[Component, ...] = (
    Component(
        "etcd", ETCD_HOSTS, "etcd", units=("etcd.service",), source="etcd",
        fields={"snapshotEvery": "interval", "snapshotKeep": "int"},
        interrupts="that member, and the API server of its host, which speaks to it alone",
        ports=(Port(ports.ETCD_CLIENT, "the host's own kube-apiserver", "their address and loopback"),
               Port(ports.ETCD_PEER, "the other etcd hosts", _OWN),
               Port(ports.ETCD_METRICS, "health checks, without a certificate")),
        # A member that says so has just had a read confirmed by a majority.
        answers=(Answer("etcd /readyz", "http", ports.ETCD_METRICS, "/readyz"),)),
    Component(
        "etcd-snapshots", SNAPSHOT_HOSTS, "etcd", units=("kubewright-etcd-snapshot.timer",)),
    Component(
        "kube-apiserver", CONTROL_PLANES, "control-plane", units=("kube-apiserver.service",), source="kubernetes",
        interrupts="that API server; HAProxy sends everybody to the others",
        ports=(Port(ports.APISERVER, "HAProxy of every host; Pods through the Service `kubernetes`", _EVERY),),
        answers=(Answer("kube-apiserver /readyz", "https", ports.APISERVER, "/readyz", outward=True),
                 Answer("kube-apiserver through haproxy", "https", ports.LOCAL_API, "/readyz"))),
    Component(
        "kube-controller-manager", CONTROL_PLANES, "controllers", units=("kube-controller-manager.service",),
        source="kubernetes", elected=True, interrupts=_ONE_ACTS, ports=(Port(ports.CONTROLLER_MANAGER, _CHECKS),)),
    Component(
        "kube-scheduler", CONTROL_PLANES, "controllers", units=("kube-scheduler.service",), source="kubernetes",
        elected=True, interrupts=_ONE_ACTS, ports=(Port(ports.SCHEDULER, _CHECKS),)),
    Component(
        "time", TIMED, "load-balancer", units=("kubewright-time.service",),
        interrupts="nothing: the host's time service reads its servers anew"),
    Component(
        "trust", TRUSTING, "runtime", units=("kubewright-trust.service",), packages=("ca-certificates",),
        interrupts="nothing: programs that run believe whom they believed when they started"),
    Component(
        "selinux", CONFINED, "runtime", units=("kubewright-selinux.service",),
        interrupts="nothing: rules that are there stay while others are added"),
    Component(
        "containerd", NODES, "runtime", units=("containerd.service", "kubewright-images.service"), fields={},
        interrupts="starting and ending of Pods on that node; those that run go on", image="pause.tar",
        packages=("runc",),                     # what containerd starts containers with
        modules=("overlay",)),
    Component(
        "firewall", CLOSED, "runtime", units=("kubewright-firewall.service",),
        interrupts="a watch over that host's firewall; what it was told stays"),
    Component(
        "kubelet", NODES, "node", units=("kubelet.service",), source="kubernetes", type="KubeletConfiguration",
        interrupts="starting, ending and probing of Pods on that node; those that run go on",
        ports=(Port(ports.KUBELET, "control planes: logs, exec, metrics", _EVERY),
               Port(ports.KUBELET_HEALTH, _CHECKS)),
        answers=(Answer("kubelet", "http", ports.KUBELET_HEALTH, "/healthz"),)),
    Component(
        "kube-proxy", NODES, "node", units=("kube-proxy.service",), source="kubernetes", type="KubeProxyConfiguration",
        interrupts="a change of Services on that node; the rules that are there stay",
        packages=("nftables",                   # kube-proxy, flannel and portmap call nft
                  "conntrack"),                 # for people: to look at and flush connections by hand
        # nf_tables is not here: the kernel loads it at the first use of nft, and as a built-in it shows nowhere.
        modules=("nf_conntrack",),
        ports=(Port(ports.KUBE_PROXY_HEALTH, "load balancers outside, if there are any", _EVERY),
               Port(ports.KUBE_PROXY_METRICS, "nobody by default")),
        answers=(Answer("kube-proxy", "http", ports.KUBE_PROXY_HEALTH, "/healthz"),)),
    Component(
        "flannel", NODES, "network", units=("flanneld.service",), network="flannel", source="flannel", type="NetConf",
        interrupts="news of other nodes on that node; the ways that are there stay",
        # flannel 0.28 exits without iptables: it first clears the tables of the backend that it does not use.
        packages=("iptables",), modules=("vxlan",), ports=(Port(ports.FLANNEL_HEALTH, _CHECKS),)),
    Component(
        "network-watch", NODES, "network", units=("kubewright-network-watch.service",),
        interrupts="a watch over packet rules and routes of that node"),
    Component(
        "haproxy", EVERYWHERE, "load-balancer", units=("haproxy.service",), packages=("haproxy",),
        interrupts="nothing: it reloads, and connections go on in the old process",
        ports=(Port(ports.LOCAL_API, "kubelet, kube-proxy, the Pod network, controllers of that host"),
               Port(ports.BALANCER_HEALTH, "keepalived: may this host hold the VIP; the HAProxy before a reload: "
                    "which API servers are unhealthy; a Prometheus of this host")),
        answers=(Answer("haproxy", "tcp", ports.LOCAL_API),),
        fields={"inter": "haproxy-time", "maxconn": "int"}),
    Component(
        "keepalived", VIP_HOLDERS, "load-balancer", units=("keepalived.service",),
        interrupts="nothing: it reloads; where it has to start, the VIP moves once",
        packages=("keepalived", "curl"),        # curl: its health check
        fields={}),
    Component("coredns", PODS, "addons", image="coredns.tar", fields={"replicas": "int", "upstreams": "[]upstream"}),
    Component("metrics-server", PODS, "addons", image="metrics-server.tar", fields={"replicas": "int"}),
)
BY_NAME: Mapping[str, Component] = {row.name: row for row in TABLE}
# What `config:` may name.
COMPONENTS: Mapping[str, Component] = {row.name: row for row in TABLE if row.is_configured}
# Of each, one on the control planes acts at a time.
ELECTED: tuple[str, ...] = tuple(row.name for row in TABLE if row.elected)
# Phases whose restarts take something away; the others write files that nothing reads until a later restart.
INTERRUPTING: frozenset[PhaseName] = frozenset(row.phase for row in TABLE if row.interrupts)


def on_host(cluster: Cluster, host: Host, system: System = DEFAULT) -> Iterator[Component]:
    """Yield the components that run on a host of that system, in the order of the table."""
    return (row for row in TABLE if row.runs_on(cluster, host) and row.place.systems(system))


def units_on(cluster: Cluster, host: Host, system: System) -> tuple[str, ...]:
    """Return the units that run on a host of that system, in the order of the table."""
    return tuple(unit for row in on_host(cluster, host, system) for unit in row.units)


def packages_of(cluster: Cluster, host: Host, system: System) -> tuple[str, ...]:
    """Return the OS packages of a host by that system's names; one without roles gets those of a node."""
    return tuple(system.package(name) for row in TABLE if row.is_prepared_on(cluster, host) for name in row.packages)


def modules_of(cluster: Cluster, host: Host) -> tuple[str, ...]:
    """Return the kernel modules of a host, likewise."""
    return tuple(name for row in TABLE if row.is_prepared_on(cluster, host) for name in row.modules)


def network_is_ours(cluster: Cluster) -> bool:
    """Say whether a component of ours connects the Pods, by the part of the Pod range that each Node is given."""
    return any(row.network and row.is_used(cluster) for row in TABLE)


def version_of(component: Component, kubernetes: str) -> str:
    """Return which version of `component` goes with this Kubernetes, empty where nobody asks."""
    return beside(kubernetes, component.source) if component.source else ""


def types_of(component: Component, kubernetes: str) -> Mapping[str, Mapping[str, str]]:
    """Return the types by name whose fields `component` takes; its own is under its `type`, or under nothing."""
    if component.fields is not None:
        return {"": component.fields}
    if component.source == "flannel":
        return FLANNEL_TYPES
    fields: Mapping[str, Mapping[str, str]] = takes(component.source, kubernetes).get("fields", {})
    return fields


def unit_packaged(component: Component, unit: str) -> bool:
    """Say whether an OS package of ours brings the unit, so that its being there is no surprise."""
    return unit.removesuffix(".service") in component.packages


def all_units() -> Iterator[tuple[Component, str]]:
    """Yield every unit with the component that it belongs to."""
    return ((row, unit) for row in TABLE for unit in row.units)

