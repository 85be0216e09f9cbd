"""Rules between fields of the inventory: pure functions, each fault a (path, message).

A rule in `_ALWAYS` holds for any part of the hosts, so it is also run while some hosts are too faulty to be read; a
rule in `_WHOLE` counts, and would accuse wrongly when a host is left out. What is allowed and yet a risk is in
model/advice.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from provisioner.model import validate_access, validate_hosts, validate_network, validate_outside, validate_ranges
from provisioner.model.cluster import Cluster
from provisioner.model.document import Path
from provisioner.model.releases import RELEASES
from provisioner.model.validate_config import config_faults

Faults = Iterator[tuple[Path, str]]


def validate(cluster: Cluster, *, partial: bool = False) -> Faults:
    """Yield every fault; `partial` leaves out the rules that count hosts, for a file of which parts were left out."""
    for rule in _ALWAYS if partial else _ALWAYS + _WHOLE:
        yield from rule(cluster)


def _supported_version(cluster: Cluster) -> Faults:
    if cluster.kubernetes not in RELEASES:
        yield ("kubernetes",), f"Kubernetes {cluster.kubernetes} is not supported; what can be had here is " \
            f"{', '.join(RELEASES)}"


def _gates_once(cluster: Cluster) -> Faults:
    for index, gate in enumerate(cluster.gates):
        if bool(gate.command) == bool(gate.job):
            yield ("gates", index), f"{gate.name} needs a command or a job, one of them"
    names = [gate.name for gate in cluster.gates]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield ("gates", index, "name"), f"another gate is called {name} already"


Rule = Callable[[Cluster], Faults]
_ALWAYS: tuple[Rule, ...] = (
    _supported_version, _gates_once,
    validate_ranges.families, validate_ranges.both_or_one, validate_ranges.ranges_apart, validate_ranges.ranges_usable,
    validate_ranges.range_sizes, validate_network.domain, validate_network.addresses, validate_network.vip,
    validate_hosts.cluster_name, validate_hosts.host_names, validate_hosts.roles_once,
    validate_hosts.labels_and_taints, validate_network.load_balancer_needs_vip, validate_network.api_port_free,
    validate_network.node_ports_free, validate_network.external, validate_network.extra_sans,
    validate_outside.registries, validate_outside.artifacts, validate_outside.proxy, validate_outside.time,
    validate_outside.trust,
    validate_network.sshd_ports, validate_access.operators, config_faults, validate_access.logins,
    validate_access.places, validate_access.becomes_root, validate_network.lab_is_private, validate_hosts.lab_size,
    validate_hosts.systems,
)
_WHOLE: tuple[Rule, ...] = (
    validate_hosts.control_plane_exists, validate_network.one_api_address, validate_hosts.etcd_is_odd,
    validate_access.operators_exist,
)
