"""What a part of compile may know: the cluster, one host of it, and what was seen of that host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import Any

from provisioner.compile.render import overlay
from provisioner.errors import InventoryRefused
from provisioner.model import families
from provisioner.model.applied import Applied
from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.cluster import Cluster, Host, Role
from provisioner.model.components import COMPONENTS
from provisioner.model.facts import Facts
from provisioner.model.secret import SecretRef
from provisioner.model.trial import Trial

# What compile reads of `config:` for each component, any field where it is merged into the component's own file. What
# the values may be, `validate` has judged.
COMPONENT_FIELDS: Mapping[str, frozenset[str] | None] = {
    row.name: None if row.type else frozenset({*(row.fields or ()), *(("flags",) if row.has_flags else ())})
    for row in COMPONENTS.values()}


@dataclass(frozen=True)
class ClusterContext:
    """The inputs of one compilation, with the lists of hosts that every part asks for made once."""

    cluster: Cluster
    lock: ArtifactLock
    secrets: Mapping[str, SecretRef]
    public: Mapping[str, str]
    trial: Trial | None = None

    @cached_property
    def control_planes(self) -> tuple[Host, ...]:
        return self.cluster.control_planes

    @cached_property
    def etcd_hosts(self) -> tuple[Host, ...]:
        return self.cluster.etcd_hosts

    @cached_property
    def load_balancers(self) -> tuple[Host, ...]:
        return self.cluster.load_balancers

    @cached_property
    def etcd_names(self) -> frozenset[str]:
        return frozenset(h.name for h in self.etcd_hosts)

    @cached_property
    def load_balancer_names(self) -> frozenset[str]:
        return frozenset(h.name for h in self.load_balancers)

    @cached_property
    def balanced(self) -> int:
        """Return how many hosts have a HAProxy, each of which asks every API server how it is."""
        return sum(1 for h in self.cluster.machines if h.roles or h.name in self.etcd_names)

    @cached_property
    def applied(self) -> str:
        """Return the document that says what the cluster is made from; the same on every host."""
        return Applied(self.cluster, self.lock, self.trial).to_text()

    @cached_property
    def artifacts(self) -> Mapping[tuple[str, str], LockedArtifact]:
        return {(a.name, a.arch): a for a in self.lock.artifacts}


@dataclass(frozen=True)
class HostContext:
    """One host within its cluster: everything that a part may depend on."""

    site: ClusterContext
    host: Host
    facts: Facts

    @property
    def cluster(self) -> Cluster:
        return self.site.cluster

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def address(self) -> str:
        return self.host.address

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.host.addresses

    @property
    def system(self) -> families.System:
        """Return the row of the host's system; of one that is in no row, which `check` refuses, the default's."""
        return families.of_facts(self.facts)

    @property
    def is_control_plane(self) -> bool:
        return Role.CONTROL_PLANE in self.host.roles

    @property
    def is_etcd(self) -> bool:
        return self.name in self.site.etcd_names

    @property
    def is_node(self) -> bool:
        return self.host.is_node

    @property
    def holds_vip(self) -> bool:
        """Say whether keepalived may bring the VIP to this host."""
        return self.cluster.api.vip is not None and self.name in self.site.load_balancer_names

    @property
    def is_used(self) -> bool:
        """Say whether the host has any part in the cluster; one without roles is only prepared."""
        return bool(self.host.roles) or self.is_etcd

    @property
    def interface(self) -> str:
        """Return the interface that carries the host's address; compile_cluster has refused hosts without one."""
        return self.facts.interface_of(self.address) or ""

    @property
    def vip_interface(self) -> str:
        """Return the interface that may carry the VIP; compile_cluster has refused load balancers without one."""
        return vip_interface(self.cluster, self.facts, self.address) or ""

    @property
    def emulates(self) -> str:
        """Return the minor that control planes behave as although they are of the next; "" without a trial."""
        return self.site.trial.emulates if self.site.trial else ""

    def artifact(self, name: str) -> LockedArtifact:
        """Return the pinned artifact `name` for this host's architecture."""
        found = self.site.artifacts.get((name, self.facts.arch))
        if found is None:
            arches = sorted({a.arch for a in self.site.lock.artifacts} | {self.facts.arch})
            raise InventoryRefused(
                f"{self.name}: {name} for {self.facts.arch} is not in artifacts.lock",
                hint=" ".join(["kubewright artifacts build --write-lock", *(f"--arch {arch}" for arch in arches)]),
                code="artifact-not-locked")
        return found

    def images(self) -> tuple[LockedArtifact, ...]:
        """Return every pinned image of this host's architecture."""
        return tuple(a for a in self.site.lock.for_arch(self.facts.arch) if a.kind == "image")

    def secret(self, name: str) -> SecretRef:
        """Return the reference to a secret of the inventory's store."""
        return self.site.secrets[name]

    def public(self, name: str) -> str:
        """Return a public PEM text of the inventory's store."""
        return self.site.public[name]

    def config(self, component: str) -> dict[str, Any]:
        """Return the fields that the inventory sets for `component` here, the host's own on top of the cluster's."""
        return config_of(self.cluster, self.host, component)

    def flags(self, component: str, flags: Mapping[str, Any]) -> dict[str, Any]:
        """Return `flags` with the inventory's `flags` of `component` on top; null takes one away."""
        cluster_wide = self.cluster.config.get(component, {}).get("flags") or {}
        here = self.host.spec.config.get(component, {}).get("flags") or {}
        return overlay(flags, {**cluster_wide, **here})


def vip_interface(cluster: Cluster, facts: Facts, own: str) -> str | None:
    """Return the interface that may carry the VIP on a host whose address is `own`; None where it has none for it.

    Where the inventory has both in one network it is the one with that address, whatever prefix that has there; else
    the one that has an address in the VIP's network.
    """
    vip = cluster.api.vip
    if vip is None:
        return None
    if any(vip in network and ip_address(own) in network for network in cluster.network.hosts):
        return facts.interface_of(own)
    return facts.interface_in(str(vip))


def config_of(cluster: Cluster, host: Host, component: str) -> dict[str, Any]:
    """Return the fields that the inventory sets for a component on a host, the host's own on top of the cluster's."""
    both = overlay(cluster.config.get(component, {}), host.spec.config.get(component, {}))
    both.pop("flags", None)
    return both


def config_faults(cluster: Cluster) -> list[str]:
    """Return which fields of `config:` no component takes; that the component exists is validated before."""
    places = {"config": cluster.config} | {f"hosts.{n}.config": s.config for n, s in cluster.hosts.items()}
    faults = []
    for place, config in places.items():
        for component, fields in config.items():
            allowed = COMPONENT_FIELDS.get(component)
            if allowed is not None:
                takes = ", ".join(sorted(allowed)) or "nothing"
                faults += [f"{place}.{component}.{field}: cannot be set; {component} takes {takes}"
                           for field in fields if field not in allowed]
    return faults
