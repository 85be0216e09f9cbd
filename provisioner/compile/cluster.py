"""The whole cluster as it should be: inventory, facts and artifacts.lock in, Desired out, nothing else read."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner.compile import registries, versions
from provisioner.compile.context import ClusterContext, HostContext, config_faults, vip_interface
from provisioner.compile.host import compile_host
from provisioner.compile.objects import objects
from provisioner.errors import InventoryRefused, PreflightRefused
from provisioner.model.artifact import ArtifactLock
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Desired, EtcdMember
from provisioner.model.facts import Facts
from provisioner.model.secret import SecretRef
from provisioner.model.trial import Trial


def compile_cluster(
        cluster: Cluster, facts: Mapping[str, Facts], lock: ArtifactLock,
        secrets: Mapping[str, SecretRef], public: Mapping[str, str], nodes: str = "",
        trial: Trial | None = None) -> Desired:
    """Return what every host, the etcd membership and the Kubernetes objects should be.

    Pure: equal arguments give an equal answer. A host without facts (it did not answer) is left out of `hosts`, but
    stays a member and a peer for all others. `secrets` are references; `public` maps names such as `ca.crt` to PEM.
    `nodes` is the version that kubelets and kube-proxies stay at, where it is another than the inventory's; with a
    `trial` control planes behave as an older minor than they are of.
    """
    _refuse(cluster, facts, lock, nodes)
    registries.refuse_without_login(cluster, secrets)
    site = ClusterContext(cluster, lock, secrets, public, trial)
    contexts = [HostContext(site, host, facts[host.name]) for host in cluster.machines if host.name in facts]
    with_kubelet = [ctx for ctx in contexts if ctx.is_node]
    return Desired(
        hosts={ctx.name: compile_host(ctx) for ctx in contexts},
        objects=objects(site, sorted({ctx.facts.arch for ctx in with_kubelet}),
                        resolves=any(_resolves(ctx) for ctx in with_kubelet)),
        members=tuple(EtcdMember(host.name, host.address) for host in site.etcd_hosts))


def _resolves(ctx: HostContext) -> bool:
    """Say whether Pods of this node get a DNS server from it; a file that the inventory names is taken at its word."""
    return bool(ctx.config("kubelet").get("resolvConf") or ctx.facts.resolv_conf)


def _refuse(cluster: Cluster, facts: Mapping[str, Facts], lock: ArtifactLock, nodes: str) -> None:
    faults = config_faults(cluster)
    if faults:
        raise InventoryRefused("the inventory asks for what we cannot make", details=faults, code="inventory-config",
                               hint="kubewright validate")
    faults = versions.lock_faults(versions.Kubernetes.of(cluster.kubernetes, nodes), lock)
    if faults:
        raise InventoryRefused("the inventory and artifacts.lock do not go together", details=faults,
                               code="inventory-config", hint="kubewright artifacts build --write-lock")
    lost = [f"{host.name}: no interface carries {address}" for host in cluster.machines for address in host.addresses
            if host.name in facts and facts[host.name].interface_of(address) is None]
    if lost:
        raise PreflightRefused("a host does not have the address that the inventory gives it",
                               details=lost, code="address-missing")
    _refuse_vip(cluster, facts)


def _refuse_vip(cluster: Cluster, facts: Mapping[str, Facts]) -> None:
    """Refuse load balancers that cannot carry the VIP: nobody in its network would find it there."""
    away = [host.name for host in cluster.vip_holders
            if host.name in facts and vip_interface(cluster, facts[host.name], host.address) is None]
    if away:
        raise PreflightRefused(
            f"{', '.join(away)}: no interface is in the network of the VIP {cluster.api.vip}",
            code="vip-without-interface",
            details=["a load balancer carries the VIP at the interface that has an address of the VIP's network",
                     *(f"{name} has {', '.join(sorted(facts[name].addresses))}" for name in away)],
            hint="kubewright validate    # with a VIP of their network, or the role load-balancer on other hosts")
