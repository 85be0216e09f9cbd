"""Rules between fields of the inventory: pure functions, each fault a (path, message).

A rule in `_ALWAYS` holds for any part of the hosts, so it is also run while some hosts are too faulty to be read; a
rule in `_WHOLE` counts, and would accuse wrongly when a host is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from provisioner.model import ports
from provisioner.model.cluster import Cluster, Host, Role, Ssh, SshOverride
from provisioner.model.document import Path
from provisioner.model.schema_faults import did_you_mean
from provisioner.model.syntax import label_fault, operator_fault, san_fault, taint_fault

SUPPORTED_KUBERNETES = ("1.34", "1.35", "1.36", "1.37")
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy",
              "containerd", "haproxy", "keepalived", "flannel", "coredns", "metrics-server")
RESERVED_NAMES = frozenset({"all", "ungrouped", "localhost", *Role})
LAB_HOSTS = 15
MOST_ETCD_MEMBERS = 7

_NODE_PREFIX = 24                     # kube-controller-manager gives every node a /24 of the Pod range
_WIDEST_PODS, _WIDEST_SERVICES = 8, 12  # the widest ranges kube-controller-manager and kube-apiserver accept
_NODE_PORTS = range(30000, 32768)
_UNUSABLE = {IPv4Network("127.0.0.0/8"): "loopback", IPv4Network("169.254.0.0/16"): "link-local",
             IPv4Network("224.0.0.0/4"): "multicast", IPv4Network("0.0.0.0/8"): "unspecified"}
_PORTS = {number: name.lower().replace("_", " ") for name, number in vars(ports).items() if name.isupper()}
_HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"
_EXTERNAL = re.compile(rf"{_HOST}:(?P<port>\d{{1,5}})")
_JUMP = re.compile(rf"([A-Za-z_][A-Za-z0-9_.-]*@)?{_HOST}(:(?P<port>\d{{1,5}}))?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")

Faults = Iterator[tuple[Path, str]]


def validate(cluster: Cluster, *, partial: bool = False) -> Faults:
    """Yield every fault; `partial` leaves out the rules that count hosts, for a file of which parts were left out."""
    for rule in _ALWAYS if partial else _ALWAYS + _WHOLE:
        yield from rule(cluster)


def _supported_version(cluster: Cluster) -> Faults:
    if cluster.kubernetes.rpartition(".")[0] not in SUPPORTED_KUBERNETES:
        yield ("kubernetes",), f"Kubernetes {cluster.kubernetes} is not supported; supported are the releases of " \
            f"{', '.join(SUPPORTED_KUBERNETES)}"


def _ranges(cluster: Cluster) -> list[tuple[Path, IPv4Network]]:
    network = cluster.network
    named = {"hosts": network.hosts, "pods": network.pods, "services": network.services}
    return [(("network", name, index), item) for name, items in named.items() for index, item in enumerate(items)]


def _ranges_apart(cluster: Cluster) -> Faults:
    for (first_path, first), (path, item) in combinations(_ranges(cluster), 2):
        if first.overlaps(item):
            yield path, f"{item} overlaps {first} (network.{first_path[1]}); the ranges of hosts, Pods and Services " \
                "must be apart"


def _ranges_usable(cluster: Cluster) -> Faults:
    for path, item in _ranges(cluster):
        for reserved, what in _UNUSABLE.items():
            if item.overlaps(reserved):
                yield path, f"{item} holds {what} addresses ({reserved}), which cannot be used"


def _range_sizes(cluster: Cluster) -> Faults:
    services, pods = cluster.network.services[0], cluster.network.pods[0]
    if services.prefixlen > 24:
        yield ("network", "services", 0), f"{services} is too small for Services; /24 is the smallest"
    if services.prefixlen < _WIDEST_SERVICES:
        yield ("network", "services", 0), f"{services} is too wide; kube-apiserver accepts up to a /{_WIDEST_SERVICES}"
    if pods.prefixlen < _WIDEST_PODS:
        yield ("network", "pods", 0), f"{pods} is too wide; kube-controller-manager accepts up to a /{_WIDEST_PODS}"
    room = 2 ** (_NODE_PREFIX - pods.prefixlen) if pods.prefixlen <= _NODE_PREFIX else 0
    if room < len(cluster.nodes):
        yield ("network", "pods", 0), f"{pods} has room for {room} nodes of a /{_NODE_PREFIX} each, " \
            f"the inventory has {len(cluster.nodes)}"


def _addresses(cluster: Cluster) -> Faults:
    taken: dict[str, str] = {}
    for host in cluster.machines:
        path = ("hosts", host.name, "address")
        if host.address in taken:
            yield path, f"{host.address} is the address of {taken[host.address]} already"
        taken.setdefault(host.address, host.name)
        fault = _outside(cluster, host.spec.address)
        if fault:
            yield path, fault


def _vip(cluster: Cluster) -> Faults:
    vip = cluster.api.vip
    if vip is None:
        return
    for host in cluster.machines:
        if host.address == str(vip):
            yield ("api", "vip"), f"{vip} is the address of {host.name}; the VIP must be an address of its own"
    fault = _outside(cluster, vip)
    if fault:
        yield ("api", "vip"), fault
    if cluster.api.external:
        yield ("api", "external"), "give either api.vip or api.external, not both"


def _outside(cluster: Cluster, address: IPv4Address) -> str:
    """Say why `address` cannot be a machine's: outside the hosts' networks, or one that no machine may have."""
    network = next((net for net in cluster.network.hosts if address in net), None)
    if network is None:
        return f"{address} is outside network.hosts ({', '.join(str(net) for net in cluster.network.hosts)})"
    if network.prefixlen < 31 and address in (network.network_address, network.broadcast_address):
        return f"{address} is the first or last address of {network}, which no machine can have"
    return ""


def _host_names(cluster: Cluster) -> Faults:
    for name in cluster.hosts:
        if name in RESERVED_NAMES:
            yield ("hosts", name), f"`{name}` is the name of a group; a host must be called something else"


def _roles_once(cluster: Cluster) -> Faults:
    for name, spec in cluster.hosts.items():
        for index, role in enumerate(spec.roles):
            if role in spec.roles[:index]:
                yield ("hosts", name, "roles", index), f"{role} is in the list twice"


def _labels_and_taints(cluster: Cluster) -> Faults:
    for name, spec in cluster.hosts.items():
        for key, value in spec.labels.items():
            fault = label_fault(key, value)
            if fault:
                yield ("hosts", name, "labels", key), fault
        for index, taint in enumerate(spec.taints):
            fault = taint_fault(taint.key, taint.value)
            if not fault and any(t.key == taint.key and t.effect == taint.effect for t in spec.taints[:index]):
                fault = f"{taint.key} with {taint.effect} is in the list twice"
            if fault:
                yield ("hosts", name, "taints", index), fault


def _load_balancer_needs_vip(cluster: Cluster) -> Faults:
    for host in cluster.with_role(Role.LOAD_BALANCER):
        path = ("hosts", host.name, "roles")
        if cluster.api.external:
            yield path, "load-balancer has nothing to do here: api.external says that the load balancer is not ours"
        elif cluster.api.vip is None:
            yield path, "load-balancer needs api.vip, the address that these hosts share"


def _api_port_free(cluster: Cluster) -> Faults:
    port = cluster.api.port
    if cluster.api.vip is None:
        return
    if port in _PORTS:
        yield ("api", "port"), f"{port} is taken on these hosts ({_PORTS[port]}); the default is 8443"
    elif port in _NODE_PORTS:
        yield ("api", "port"), f"{port} lies in the range of NodePort Services (30000-32767); the default is 8443"
    elif any(cluster.ssh_of(host.name).port == port for host in cluster.load_balancers):
        yield ("api", "port"), f"{port} is the port of sshd on these hosts; the default is 8443"


def _external_syntax(cluster: Cluster) -> Faults:
    external = cluster.api.external
    if external is not None and not _with_port(_EXTERNAL, external):
        yield ("api", "external"), f"`{external}` is not HOST:PORT, such as lb.example.org:6443"


def _extra_sans(cluster: Cluster) -> Faults:
    for index, name in enumerate(cluster.api.extra_sans):
        fault = san_fault(name)
        if fault:
            yield ("api", "extra_sans", index), fault


def _operators(cluster: Cluster) -> Faults:
    for index, key in enumerate(cluster.operators):
        fault = operator_fault(key)
        if fault:
            yield ("operators", index), fault


def _components(cluster: Cluster) -> Faults:
    places: list[tuple[Path, list[str]]] = [(("config",), list(cluster.config))]
    places += [(("hosts", name, "config"), list(spec.config)) for name, spec in cluster.hosts.items()]
    for path, names in places:
        for name in names:
            if name not in COMPONENTS:
                close = did_you_mean(name, list(COMPONENTS)) or f"; known: {', '.join(COMPONENTS)}"
                yield (*path, name), f"unknown component{close}"


def _logins(cluster: Cluster) -> Faults:
    yield from _login(("ssh",), cluster.ssh)
    for name, spec in cluster.hosts.items():
        yield from _login(("hosts", name, "ssh"), spec.ssh)


def _becomes_root(cluster: Cluster) -> Faults:
    """Refuse a login that can change nothing there; told where it is written, once for all hosts that inherit it."""
    told: set[Path] = set()
    for name, spec in cluster.hosts.items():
        ssh = cluster.ssh_of(name)
        own = spec.ssh.become is not None or spec.ssh.user is not None
        path: Path = ("hosts", name, "ssh") if own else ("ssh", "become")
        if ssh.become == "none" and ssh.user != "root" and path not in told:
            told.add(path)
            yield path, f"become: none is for root itself; {ssh.user} needs `become: sudo`, without a password"


def _login(path: Path, ssh: Ssh | SshOverride) -> Faults:
    if ssh.user is not None and not _USER.fullmatch(ssh.user):
        yield (*path, "user"), f"`{ssh.user}` is not a user name"
    if ssh.jump is not None and not _with_port(_JUMP, ssh.jump):
        yield (*path, "jump"), f"`{ssh.jump}` is not USER@HOST[:PORT]"
    if ssh.key is not None and (ssh.key.startswith("-") or not ssh.key.strip() or not ssh.key.isprintable()):
        yield (*path, "key"), f"{ssh.key!r} is not the path of a private key"


def _with_port(pattern: re.Pattern[str], text: str) -> bool:
    """Match the whole text, with a port that exists; so nothing that begins with `-` ever reaches an ssh command."""
    found = pattern.fullmatch(text)
    return found is not None and (found["port"] is None or 1 <= int(found["port"]) <= 65535)


def _lab_is_private(cluster: Cluster) -> Faults:
    for index, network in enumerate(cluster.network.hosts):
        if cluster.lab and not network.is_private:
            yield ("network", "hosts", index), f"{network} is not private; a lab's addresses must not exist elsewhere"


def _lab_size(cluster: Cluster) -> Faults:
    if cluster.lab and len(cluster.hosts) > LAB_HOSTS:
        yield ("hosts",), f"a lab has at most {LAB_HOSTS} hosts on one machine, this one has {len(cluster.hosts)}"


def _control_plane_exists(cluster: Cluster) -> Faults:
    if not cluster.control_planes:
        yield ("hosts",), "no host has the role control-plane; at least one is needed"


def _one_api_address(cluster: Cluster) -> Faults:
    count = len(cluster.control_planes)
    if count > 1 and cluster.api.vip is None and not cluster.api.external:
        yield ("api",), f"{count} control planes need one address that outlives each of them: " \
            "set api.vip, or api.external"


def _etcd_is_stacked(cluster: Cluster) -> Faults:
    holders = cluster.with_role(Role.ETCD)
    if not holders:
        return
    for host in cluster.machines:
        if (Role.ETCD in host.roles) != (Role.CONTROL_PLANE in host.roles):
            yield ("hosts", host.name, "roles"), _not_stacked(host)


def _not_stacked(host: Host) -> str:
    which = "etcd without control-plane" if Role.ETCD in host.roles else "control-plane without etcd"
    return f"{which}: hosts of its own for etcd are not supported yet; for now etcd runs on exactly the control planes"


def _etcd_is_odd(cluster: Cluster) -> Faults:
    count = len(cluster.etcd_hosts)
    if count > MOST_ETCD_MEMBERS:
        yield ("hosts",), f"{count} etcd members are too many: each write waits for a majority; " \
            f"at most {MOST_ETCD_MEMBERS}"
    elif count and count % 2 == 0:
        loss = f"the loss of {(count - 1) // 2}" if count > 2 else "no loss"
        yield ("hosts",), f"{count} etcd members survive {loss}, just as {count - 1} would, and one more can fail; " \
            f"use {count - 1} or {count + 1}"


def _operators_exist(cluster: Cluster) -> Faults:
    if not cluster.operators and not cluster.lab:
        yield ("operators",), "at least one SSH public key is needed, else nobody could read the cluster's secrets"


Rule = Callable[[Cluster], Faults]
_ALWAYS: tuple[Rule, ...] = (
    _supported_version, _ranges_apart, _ranges_usable, _range_sizes, _addresses, _vip, _host_names, _roles_once,
    _labels_and_taints, _load_balancer_needs_vip, _api_port_free, _external_syntax, _extra_sans, _operators,
    _components, _logins, _becomes_root, _lab_is_private, _lab_size,
)
_WHOLE: tuple[Rule, ...] = (
    _control_plane_exists, _one_api_address, _etcd_is_stacked, _etcd_is_odd, _operators_exist,
)
