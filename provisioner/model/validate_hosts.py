"""Rules for names, roles, labels and taints, and for how many there must be of what."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.model import families
from provisioner.model.cluster import Cluster, HostSpec, Role
from provisioner.model.document import Path
from provisioner.model.syntax import label_fault, taint_fault

Faults = Iterator[tuple[Path, str]]

RESERVED_NAMES = frozenset({"all", "ungrouped", "localhost", *Role})
LAB_HOSTS = 15
MOST_ETCD_MEMBERS = 7
# A certificate's common name has at most 64 characters; these are the longest that are made of a name.
_COMMON_NAME = 64
LONGEST_HOST = _COMMON_NAME - len("system:node:")
LONGEST_CLUSTER = _COMMON_NAME - len("front-proxy-ca of ")


_OWN_TAINT = "node-role.kubernetes.io/control-plane"


def _alone(spec: HostSpec) -> bool:
    """Say whether a host is a control plane that takes no Pods."""
    return Role.CONTROL_PLANE in spec.roles and Role.WORKER not in spec.roles


def cluster_name(cluster: Cluster) -> Faults:
    """A name that does not fit into the names of the cluster's CAs."""
    if len(cluster.cluster) > LONGEST_CLUSTER:
        yield ("cluster",), f"{len(cluster.cluster)} characters are too many: a certificate says `front-proxy-ca of " \
            f"NAME` in {_COMMON_NAME}, so a cluster's name has at most {LONGEST_CLUSTER}"


def host_names(cluster: Cluster) -> Faults:
    """A name that a host cannot have: a group's, an address, or one that does not fit into its certificate."""
    for name in cluster.hosts:
        fault = _name_fault(name)
        if fault:
            yield ("hosts", name), fault


def _name_fault(name: str) -> str:
    if name in RESERVED_NAMES:
        return f"`{name}` is the name of a group; a host must be called something else"
    if len(name) > LONGEST_HOST:
        return f"{len(name)} characters are too many: a node's certificate says `system:node:NAME` in " \
            f"{_COMMON_NAME}, so a host's name has at most {LONGEST_HOST}"
    if "." in name and name.rpartition(".")[2].isdigit():
        return f"`{name}` ends like an address; a host has a name, and its address stands under `address`"
    return ""


def roles_once(cluster: Cluster) -> Faults:
    """A role that stands there twice."""
    for name, spec in cluster.hosts.items():
        for index, role in enumerate(spec.roles):
            if role in spec.roles[:index]:
                yield ("hosts", name, "roles", index), f"{role} is in the list twice"


def labels_and_taints(cluster: Cluster) -> Faults:
    """A label or taint that no Node can have."""
    for name, spec in cluster.hosts.items():
        for key, value in spec.labels.items():
            fault = label_fault(key, value)
            if fault:
                yield ("hosts", name, "labels", key), fault
        for index, taint in enumerate(spec.taints):
            fault = taint_fault(taint.key, taint.value)
            if not fault and taint.key == _OWN_TAINT and taint.effect == "NoSchedule" and _alone(spec):
                fault = f"{name} has this taint already: control planes without the role worker have it"
            if not fault and any(t.key == taint.key and t.effect == taint.effect for t in spec.taints[:index]):
                fault = f"{taint.key} with {taint.effect} is in the list twice"
            if fault:
                yield ("hosts", name, "taints", index), fault


def lab_size(cluster: Cluster) -> Faults:
    """More hosts than one machine should boot."""
    if cluster.lab and len(cluster.hosts) > LAB_HOSTS:
        yield ("hosts",), f"a lab has at most {LAB_HOSTS} hosts on one machine, this one has {len(cluster.hosts)}"


def systems(cluster: Cluster) -> Faults:
    """A system that is in no row of the table, or, in a lab, one that it cannot boot."""
    known = [row.key for row in families.TABLE if row.suite or not cluster.lab]
    for name, spec in cluster.hosts.items():
        if spec.system is not None and spec.system not in known:
            where = "a lab boots" if cluster.lab else "known are"
            yield ("hosts", name, "system"), f"{spec.system} is no system of ours; {where} {', '.join(known)}"


def control_plane_exists(cluster: Cluster) -> Faults:
    """No control plane at all."""
    if not cluster.control_planes:
        yield ("hosts",), "no host has the role control-plane; at least one is needed"


def etcd_is_odd(cluster: Cluster) -> Faults:
    """An even number of members, or too many."""
    count = len(cluster.etcd_hosts)
    if count > MOST_ETCD_MEMBERS:
        yield ("hosts",), f"{count} etcd members are too many: each write waits for a majority; " \
            f"at most {MOST_ETCD_MEMBERS}"
    elif count and count % 2 == 0:
        loss = f"the loss of {(count - 1) // 2}" if count > 2 else "no loss"
        yield ("hosts",), f"{count} etcd members survive {loss}, just as {count - 1} would, and one more can fail; " \
            f"use {count - 1} or {count + 1}"
