"""`config:` against what the pinned versions take and what other parts rely on: every field, before any host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from provisioner.model.cluster import Cluster, Host
from provisioner.model.components import COMPONENTS, Component, network_is_ours, types_of, version_of
from provisioner.model.config_pairs import beside_each_other, laid_over
from provisioner.model.document import Path
from provisioner.model.owned import owned
from provisioner.model.releases import RELEASES, elsewhere, takes
from provisioner.model.schema_faults import did_you_mean
from provisioner.model.values import (
    escaped,
    field_fault,
    flag_fault,
    pairs,
    shown,
    unprintable,
    upstream_fault,
)

Faults = Iterator[tuple[Path, str]]

NODE_PREFIX = 24        # kube-controller-manager gives every node a /24 of the Pod range, unless it is told otherwise
NODE_PREFIX_IPV6 = 64   # its own too: what flannel and others expect of IPv6
_MASK = "node-cidr-mask-size"
_NODE_PORTS = "service-node-port-range"
# What must be the same on every control plane, since whichever of them is asked decides.
_EVERYWHERE = {("kube-controller-manager", _MASK), ("kube-apiserver", _NODE_PORTS)}
_NO_MORE = 2**31 - 1

# (component, field or flag) -> least and most; an `int` field without a row here must not be negative.
_LIMITS: Mapping[tuple[str, str], tuple[int, int]] = {
    ("kubelet", "maxPods"): (1, _NO_MORE), ("kubelet", "podPidsLimit"): (-1, _NO_MORE),
    ("kubelet", "nodeStatusMaxImages"): (-1, _NO_MORE), ("kubelet", "oomScoreAdj"): (-1000, 1000),
    ("kubelet", "imageGCHighThresholdPercent"): (0, 100), ("kubelet", "imageGCLowThresholdPercent"): (0, 100),
    ("kubelet", "iptablesMasqueradeBit"): (0, 31), ("kubelet", "iptablesDropBit"): (0, 31),
    ("kubelet", "readOnlyPort"): (0, 65535), ("kubelet", "nodeLeaseDurationSeconds"): (1, _NO_MORE),
    ("kubelet", "maxParallelImagePulls"): (1, _NO_MORE),
    ("kubelet", "shutdownGracePeriodByPodPriority.priority"): (-_NO_MORE, _NO_MORE),
    ("kube-proxy", "oomScoreAdj"): (-1000, 1000), ("kube-proxy", "iptables.masqueradeBit"): (0, 31),
    ("kube-proxy", "nftables.masqueradeBit"): (0, 31),
    ("flannel", "Backend.MTU"): (576, 65535), ("flannel", "Backend.Port"): (1, 65535),
    ("flannel", "Backend.VNI"): (1, 2**24 - 1),
    ("coredns", "replicas"): (1, 100), ("metrics-server", "replicas"): (1, 100),
    ("haproxy", "maxconn"): (256, 1_000_000),
    ("etcd", "flags.quota-backend-bytes"): (0, 2**63 - 1), ("etcd", "flags.heartbeat-interval"): (10, 10_000),
    ("etcd", "flags.election-timeout"): (50, 50_000),
    ("kube-controller-manager", f"flags.{_MASK}"): (8, 30),
    ("kubelet", "flags.v"): (0, 10), ("kube-proxy", "flags.v"): (0, 10), ("kube-apiserver", "flags.v"): (0, 10),
    ("kube-controller-manager", "flags.v"): (0, 10), ("kube-scheduler", "flags.v"): (0, 10),
}
# Fields that Go's types call text, and the program takes but these of.
_WORDS: Mapping[tuple[str, str], str] = {
    ("kubelet", "hairpinMode"): "promiscuous-bridge,hairpin-veth,none",
    ("kubelet", "cpuManagerPolicy"): "none,static", ("kubelet", "memoryManagerPolicy"): "None,Static",
    ("kubelet", "topologyManagerPolicy"): "none,best-effort,restricted,single-numa-node",
    ("kubelet", "topologyManagerScope"): "container,pod",
    ("kubelet", "tlsMinVersion"): "VersionTLS10,VersionTLS11,VersionTLS12,VersionTLS13",
    ("kubelet", "logging.format"): "text,json", ("kube-proxy", "logging.format"): "text,json",
    ("kubelet", "memorySwap.swapBehavior"): "NoSwap,LimitedSwap",
    ("kube-proxy", "detectLocalMode"): "ClusterCIDR,NodeCIDR,BridgeInterface,InterfaceNamePrefix",
    ("etcd", "flags.log-level"): "debug,info,warn,error,panic,fatal", ("etcd", "flags.logger"): "zap",
    ("etcd", "flags.log-format"): "json,console", ("etcd", "flags.auto-compaction-mode"): "periodic,revision",
    ("etcd", "flags.metrics"): "basic,extensive", ("etcd", "flags.backend-bbolt-freelist-type"): "array,map",
    ("etcd", "flags.tls-min-version"): "TLS1.2,TLS1.3", ("etcd", "flags.tls-max-version"): "TLS1.2,TLS1.3,",
    ("kube-apiserver", "flags.audit-log-format"): "legacy,json",
    ("kube-apiserver", "flags.audit-log-mode"): "batch,blocking,blocking-strict",
    ("kube-apiserver", "flags.storage-backend"): "etcd3",
    **{(name, "flags.logging-format"): "text,json" for name in (
        "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")},
}
_RESERVABLE = "cpu, memory, ephemeral-storage, pid"


def config_faults(cluster: Cluster) -> Faults:
    """Yield every fault of `config:`, the cluster's and each host's own."""
    yield from _place(cluster, ("config",), cluster.config, None)
    for host in cluster.machines:
        yield from _place(cluster, ("hosts", host.name, "config"), host.spec.config, host)


def node_prefix(cluster: Cluster) -> int:
    """Return how large a part of the Pod range each node is given: a prefix length."""
    value = _flag(cluster, "kube-controller-manager", _MASK)
    if value is None or flag_fault("int", value) or not 8 <= int(value) <= 30:
        return NODE_PREFIX
    return int(value)


def node_ports(cluster: Cluster) -> range:
    """Return the ports of NodePort Services."""
    value = _flag(cluster, "kube-apiserver", _NODE_PORTS)
    if value is None or flag_fault("ports", value):
        return range(30000, 32768)
    first, _, last = str(value).partition("-")
    return range(int(first), int(last) + 1)


def _flag(cluster: Cluster, component: str, name: str) -> Any:
    """Return what the cluster's `config:` gives a flag, None where it says nothing or nothing that can be read."""
    flags = cluster.config.get(component, {}).get("flags")
    return flags.get(name) if isinstance(flags, Mapping) else None


def _place(cluster: Cluster, path: Path, config: Mapping[str, Any], host: Host | None) -> Faults:
    for name, values in config.items():
        place = (*path, name)
        component = COMPONENTS.get(name)
        if component is None:
            close = did_you_mean(name, list(COMPONENTS)) or f"; known: {', '.join(COMPONENTS)}"
            yield place, f"unknown component{close}"
            continue
        fault = _nowhere(cluster, component, host)
        if fault:
            yield place, fault
        elif cluster.kubernetes in RELEASES:    # else that is the fault, and no table says what such a one takes
            yield from _fields(cluster, component, place, values)
            yield from _flags(cluster, component, (*place, "flags"), values, host)
            yield from _pods_of_a_node(cluster, component, place, values)
            yield from _pairs(cluster, name, place, values, host)
            yield from _own_network(component, place, values, host)


def _pairs(cluster: Cluster, name: str, path: Path, values: Mapping[str, Any], host: Host | None) -> Faults:
    """Judge values beside each other, a host's with what it has from the cluster, unless that is wrong by itself."""
    above = cluster.config.get(name, {}) if host is not None else {}
    known = set(beside_each_other(name, above))
    for field, message in beside_each_other(name, laid_over(above, values)):
        if (field, message) not in known:
            yield (*path, *field), message


def _own_network(component: Component, path: Path, values: Mapping[str, Any], host: Host | None) -> Faults:
    """Refuse one host's own way to other hosts' Pods: they would not answer in it. A smaller MTU is its own affair."""
    backend = values.get("Backend") if component.name == "flannel" and host is not None else None
    for name in backend if isinstance(backend, Mapping) else ():
        if name != "MTU":
            yield (*path, "Backend", name), "it must be the same on every host: write it under config.flannel"


def _nowhere(cluster: Cluster, component: Component, host: Host | None) -> str:
    """Say why nothing reads what stands here."""
    if not component.is_used(cluster):
        return f"network.plugin is {cluster.network.plugin}, so {component.name} runs nowhere"
    if host is None:
        return ""
    if component.in_pods:
        return f"{component.name} belongs to the cluster and not to a host: write it under the top-level config"
    if not component.runs_on(cluster, host):
        return f"{host.name} runs no {component.name}, which is on {component.place.says}"
    return ""


def _fields(cluster: Cluster, component: Component, path: Path, values: Mapping[str, Any]) -> Faults:
    for name, value in values.items():
        if name == "flags" and component.has_flags:
            continue
        known = types_of(component, cluster.kubernetes).get(component.type, {}) if _has_fields(component) else {}
        kind = known.get(name)
        if kind is None:
            yield (*path, name), _unknown_field(cluster, component, name, list(known))
        else:
            yield from _field(cluster, component, (*path, name), name, kind, value)


def _has_fields(component: Component) -> bool:
    return component.fields is not None or bool(component.type)


def _unknown_field(cluster: Cluster, component: Component, name: str, known: list[str]) -> str:
    if component.has_flags and name in takes(component.source, cluster.kubernetes)["flags"][component.name]:
        return f"`{name}` is a flag: write it under flags"
    close = _another_release(cluster, component, "fields", component.type, name) or did_you_mean(name, known)
    if not known:
        return f"{component.name} takes {'flags' if component.has_flags else 'nothing'} here"
    if component.has_flags:
        version = version_of(component, cluster.kubernetes)
        return f"{component.name} {version} has no field {shown(name)}{close}"
    return f"{component.name} takes {', '.join(sorted(known))}{close}"


def _field(cluster: Cluster, component: Component, path: Path, name: str, kind: str, value: Any) -> Faults:
    """Judge one field, and what is below it; `name` is its path within the component, without places in lists."""
    fault = _never(value)
    if fault:
        yield path, fault
        return
    if value is None:       # takes away what stands in the file; a component without a file of its own has defaults
        fault = "is empty: write a value, or take the key out" if not component.type else \
            owned(component.name, name, value, cluster)
        if fault:
            yield path, fault
    elif kind.startswith("@"):
        yield from _struct(cluster, component, path, name, kind[1:], value)
    elif kind.startswith(("[]", "{}")):
        yield from _many(cluster, component, path, name, kind, value)
    else:
        kind = f"enum:{_WORDS[component.name, name]}" if (component.name, name) in _WORDS else kind
        fault = (upstream_fault(value) if kind == "upstream" else field_fault(kind, value)) \
            or _limit(component, name, kind, value) or owned(component.name, name, value, cluster)
        if fault:
            yield path, fault


def _struct(cluster: Cluster, component: Component, path: Path, name: str, kind: str, value: Any) -> Faults:
    whole = owned(component.name, name, value, cluster)
    if whole or not isinstance(value, Mapping):
        yield path, whole or f"must be a mapping, is {shown(value)}"
        return
    known = types_of(component, cluster.kubernetes)[kind]
    for key, inner in value.items():
        if key in known:
            yield from _field(cluster, component, (*path, key), f"{name}.{key}", known[key], inner)
        else:
            close = _another_release(cluster, component, "fields", kind, key) \
                or did_you_mean(key, list(known)) or f"; known here: {', '.join(sorted(known))}"
            version = version_of(component, cluster.kubernetes)
            yield (*path, key), f"{name} of {component.name} {version} has no field {shown(key)}{close}"


def _many(cluster: Cluster, component: Component, path: Path, name: str, kind: str, value: Any) -> Faults:
    whole = owned(component.name, name, value, cluster)
    listed = kind.startswith("[]")
    if whole or not isinstance(value, list if listed else Mapping):
        yield path, whole or f"must be {'a list' if listed else 'a mapping'}, is {shown(value)}"
        return
    items: list[tuple[Any, Any]] = list(value.items() if isinstance(value, Mapping) else enumerate(value))
    for key, item in items:
        if listed and item is None:
            yield (*path, key), "is empty: write a value, or take the line out"
            continue
        fault = _gate(cluster, component, key) if name == "featureGates" else _reserved(name, key)
        if fault:
            yield (*path, key), fault
        else:
            yield from _field(cluster, component, (*path, key), name, _reserved_kind(name) or kind[2:], item)
            if name == "tlsCipherSuites" and isinstance(item, str):
                yield from _listed(cluster, component, (*path, key), "tls-cipher-suites", item)
            if name == "featureGates" and isinstance(item, bool):
                yield from _locked(cluster, component, (*path, key), key, item)


def _reserved(name: str, key: Any) -> str:
    if name in ("systemReserved", "kubeReserved") and key not in _RESERVABLE.split(", "):
        return f"nothing called {shown(key)} can be reserved; known here: {_RESERVABLE}"
    return ""


def _reserved_kind(name: str) -> str:
    """Return the kind of what Go calls a map of texts, where each must be a quantity in quotes."""
    return "quantity-text" if name in ("systemReserved", "kubeReserved") else ""


def _limit(component: Component, name: str, kind: str, value: Any) -> str:
    if kind not in ("int", "count"):
        return ""
    widest = 2**63 - 1 if component.name == "etcd" else _NO_MORE
    usual = (-widest, widest) if name.startswith("flags.") else (0, _NO_MORE)
    least, most = _LIMITS.get((component.name, name), usual)
    if int(value) < least:
        return f"must be {least} or more, is {value}"
    return f"must be {most} or less, is {value}" if int(value) > most else ""


def _flags(cluster: Cluster, component: Component, path: Path, values: Mapping[str, Any], host: Host | None) -> Faults:
    flags = values.get("flags")
    if flags is None or not component.has_flags:
        return
    if not isinstance(flags, Mapping):
        yield path, f"must be a mapping of flags to values, is {shown(flags)}"
        return
    known: Mapping[str, str] = takes(component.source, cluster.kubernetes)["flags"][component.name]
    for name, value in flags.items():
        place = (*path, name)
        kind, _, where = known.get(name, "").partition(" ")
        fault = _unknown_flag(cluster, component, name, known) or owned(component.name, f"flags.{name}", value, cluster)
        if fault:
            yield place, fault
        elif kind == "exits":
            yield place, f"with it {component.name} does one thing and ends"
        elif where == "file":
            yield place, f"{component.name} takes it from its file: {_field_of(cluster, component, name)}"
        elif host is not None and (component.name, name) in _EVERYWHERE:
            yield place, f"it must be the same on every control plane: write it under config.{component.name}.flags"
        elif value is not None:
            words = _WORDS.get((component.name, f"flags.{name}"))
            fault = _never(value) or flag_fault(f"enum:{words}" if words else kind, value) \
                or _limit(component, f"flags.{name}", kind, value)
            if fault:
                yield place, fault
            elif kind == "gates" or name == "feature-gates":
                yield from _gates(cluster, component, place, value)
            elif name.endswith("-admission-plugins") or name == "tls-cipher-suites":
                yield from _listed(cluster, component, place, name, value)


def _never(value: Any) -> str:
    bad = unprintable(value)
    return f"holds a character that cannot be seen, or ends a line: `{bad}`" if bad else ""


def _unknown_flag(cluster: Cluster, component: Component, name: str, known: Mapping[str, str]) -> str:
    if name in known:
        return ""
    bare = name.lstrip("-")
    if bare != name:
        return f"write the name of a flag without dashes: {escaped(bare)}"
    if _has_fields(component) and name in types_of(component, cluster.kubernetes).get(component.type, {}):
        return f"`{name}` is a field: write it beside `flags`"
    version = version_of(component, cluster.kubernetes)
    close = _another_release(cluster, component, "flags", component.name, name) or did_you_mean(name, list(known))
    return f"{component.name} {version} has no flag {shown(name)}{close}"


def _another_release(cluster: Cluster, component: Component, table: str, type_: str, name: str) -> str:
    """Say which other release takes a flag or a field of a type: what went is not misspelt."""
    if component.source not in ("kubernetes", "etcd"):
        return ""
    return elsewhere(component.source, cluster.kubernetes, lambda of: name in of.get(table, {}).get(type_, {}))


def _field_of(cluster: Cluster, component: Component, flag: str) -> str:
    """Return which field of the file a flag is, where the names tell."""
    letters = flag.replace("-", "").lower()
    fields = types_of(component, cluster.kubernetes).get(component.type, {})
    return next((f"write `{name}` beside `flags`" for name in fields if name.lower() == letters),
                "write the field beside `flags`")


def _gates(cluster: Cluster, component: Component, path: Path, value: Any) -> Faults:
    for name, text in pairs(value):
        prefix, _, gate = name.rpartition(":")
        fault = _gate(cluster, component, gate) if prefix in ("", "kube") else ""
        if fault:
            yield path, fault
        elif prefix in ("", "kube"):
            yield from _locked(cluster, component, path, gate, text == "true")


def _gate(cluster: Cluster, component: Component, name: Any) -> str:
    known = takes(component.source, cluster.kubernetes)["gates"]
    if name in known:
        return ""
    version = version_of(component, cluster.kubernetes)
    close = elsewhere(component.source, cluster.kubernetes, lambda of: name in of["gates"]) \
        or did_you_mean(str(name), list(known))
    return f"{component.name} {version} has no feature gate {shown(name)}{close}"


def _locked(cluster: Cluster, component: Component, path: Path, name: str, value: bool) -> Faults:
    locked = takes(component.source, cluster.kubernetes)["gates"].get(name)
    if locked is not None and locked != value:
        version = version_of(component, cluster.kubernetes)
        yield path, f"{name} is always {str(locked).lower()} in {component.name} {version}"


def _listed(cluster: Cluster, component: Component, path: Path, name: str, value: Any) -> Faults:
    """Judge a list of names of which the version has a table: admission plugins and cipher suites."""
    if component.source != "kubernetes":
        return
    table, what = ("ciphers", "cipher suite") if name == "tls-cipher-suites" else ("admission", "admission plugin")
    known = takes("kubernetes", cluster.kubernetes)[table]
    for one, _ in pairs(value):
        if one not in known:
            yield path, f"{component.name} {cluster.kubernetes} has no {what} {shown(one)}{did_you_mean(one, known)}"


def _pods_of_a_node(cluster: Cluster, component: Component, path: Path, values: Mapping[str, Any]) -> Faults:
    """A node has the addresses of its part of the Pod range, less the first, the gateway's and the last."""
    most = values.get("maxPods")
    if component.name != "kubelet" or not network_is_ours(cluster) or not isinstance(most, int):
        return
    prefix = node_prefix(cluster)
    room = 2 ** (32 - prefix) - 3
    if most > room:
        yield (*path, "maxPods"), f"a node is given a /{prefix} of the Pod range, which is {room} addresses; {most} " \
            "Pods do not fit" + (_wider(most) if prefix == NODE_PREFIX else "")


def _wider(pods: int) -> str:
    prefix = 32 - (pods + 2).bit_length()
    return f"; set kube-controller-manager's flag {_MASK} to {prefix} before the first `up`" if prefix >= 8 else ""
