"""flannel: a subnet for every node, vxlan between them, and the CNI configuration that follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from provisioner.compile import pki
from provisioner.compile.context import ClusterContext, HostContext, config_of
from provisioner.compile.networks.contract import PodNetwork
from provisioner.compile.parts import BIN_DIR, Leaving, binary, directories, managed, rendered, service
from provisioner.compile.render import command_line, merged, render, variables_unset
from provisioner.model.cluster import Cluster, Host
from provisioner.model.desired import File, Item, KubeObject
from provisioner.model.families import System
from provisioner.model.ports import FLANNEL_HEALTH, LOCAL_API

DIRECTORY = "/etc/kube-flannel"
NET_CONF = f"{DIRECTORY}/net-conf.json"
SUBNET_ENV = "/run/flannel/subnet.env"
# flannel writes to its Node's status. It does so as the node itself, which the API server lets touch that Node alone: a
# name common to all nodes would let root on any of them relabel or redirect every other.
KUBECONFIG = "/etc/kubernetes/flannel.conf"
# Directories of our own: in the standard ones a file of somebody else's that sorts first decides about the Pods.
CONFIG_DIR, BINARIES_DIR = "/etc/kubewright/cni", "/opt/kubewright/cni"
CNI_CONFIG = f"{CONFIG_DIR}/10-kubewright.conflist"
MANAGER = "/etc/NetworkManager/conf.d/50-kubewright.conf"
WRITE_CNI_CONFIG = "/opt/kubewright/bin/write-cni-config"
AWAIT_SUBNET = "/opt/kubewright/bin/await-subnet"
# Where earlier versions wrote it; a containerd of somebody else's would take it there.
OLD_CNI_CONFIG = "/etc/cni/net.d/10-kubewright.conflist"
UNIT = "flanneld.service"
INPUTS = (NET_CONF, KUBECONFIG, pki.CA, pki.KUBELET_CLIENT.path, AWAIT_SUBNET, WRITE_CNI_CONFIG,
          f"{BIN_DIR}/flanneld")
VXLAN = 8472        # where nodes listen for each other, as the template of its configuration has it


def items(ctx: HostContext) -> Iterator[Item]:
    """Return flanneld of a node."""
    if not ctx.is_node:
        return
    yield pki.kubeconfig(KUBECONFIG, pki.KUBELET_CLIENT, ctx)
    yield from binary(ctx, "flanneld", "network")
    yield from directories([DIRECTORY], "network")
    if ctx.system.places.manager:       # at its start it takes what it finds for its own, and the ways to Pods are lost
        yield rendered(MANAGER, "network", component="flannel", devices=["flannel*", "veth*"])
    given = ctx.flags("flannel", flags(ctx))
    text = render(NET_CONF, pods=ctx.cluster.network.pods, nftables=ctx.system.rules == "nftables")
    yield File(path=NET_CONF, phase="network", component="flannel",
               content=merged(text, ctx.config("flannel"), form="json"))
    # Before containerd starts: it reads a directory in which a node that already has its subnet has its file.
    yield rendered(WRITE_CNI_CONFIG, "runtime", component="flannel", mode=0o755,
                   subnet_env=SUBNET_ENV, cni_config=CNI_CONFIG, dual=ctx.cluster.network.is_dual,
                   rules=ctx.system.rules)
    yield rendered(AWAIT_SUBNET, "network", component="flannel", mode=0o755, node=ctx.name, port=LOCAL_API, ca=pki.CA,
                   certificate=pki.KUBELET_CLIENT.path, key=pki.KUBELET_CLIENT.key_path)
    yield from service(
        UNIT, "network", INPUTS, component="flannel", node=ctx.name, await_subnet=AWAIT_SUBNET,
        write_cni_config=WRITE_CNI_CONFIG,
        cni_config_dir=CONFIG_DIR, old_cni_config=OLD_CNI_CONFIG,
        old_cni_config_dir=str(PurePosixPath(OLD_CNI_CONFIG).parent), unset=variables_unset("FLANNELD", given),
        command=command_line(f"{BIN_DIR}/flanneld", given))


def flags(ctx: HostContext) -> dict[str, object]:
    """Return flanneld's flags."""
    return {
        "kube-subnet-mgr": True,
        "kubeconfig-file": KUBECONFIG,
        "net-config-path": NET_CONF,
        "subnet-file": SUBNET_ENV,
        "iface": ctx.address,
        **({"public-ipv6": ctx.addresses[1]} if ctx.cluster.network.is_dual else {}),
        "ip-masq": True,
        "healthz-ip": "127.0.0.1",
        "healthz-port": FLANNEL_HEALTH,
    }


def objects(site: ClusterContext) -> Iterator[KubeObject]:
    """Return what every node may do for flannel."""
    return managed("access", "flannel.yaml", group=pki.NODES_GROUP)


def rules(cluster: Cluster, host: Host, system: System) -> tuple[tuple[str, str], ...]:
    """Return what flannel writes when it starts and never again; rules of iptables it writes anew every 5 s."""
    if not host.is_node or system.rules != "nftables":
        return ()
    families = (("ip", "flannel-ipv4"), ("ip6", "flannel-ipv6"))
    return tuple(rule for (family, table), pods in zip(families, cluster.network.pods, strict=False) for rule in (
        (f"{family} {table} postrtg", "masquerade"), (f"{family} {table} forward", f"{family} saddr {pods} accept")))


def device(cluster: Cluster, host: Host) -> str:
    """Return the vxlan device; empty where the ways go through none, or only some."""
    backend = config_of(cluster, host, "flannel").get("Backend") or {}
    if not host.is_node or backend.get("Type", "vxlan") != "vxlan" or backend.get("DirectRouting"):
        return ""
    return f"flannel.{backend.get('VNI', 1)}"


def packets(cluster: Cluster) -> dict[tuple[str, int], str]:
    """Return what nodes send each other; nothing where they wrap nothing, or only on some ways."""
    backend = _backend(cluster)
    if backend.get("Type", "vxlan") != "vxlan" or backend.get("DirectRouting"):
        return {}
    port = int(backend.get("Port", VXLAN))
    return {("udp", port): f"VXLAN (udp {port})"}


def largest(cluster: Cluster) -> int:
    """Return the bytes of the largest packet between nodes, its wrapping among them, where the inventory sets it.

    flannel 0.28, pkg/backend/vxlan/device.go: Pods have 50 less than `MTU`.
    """
    return int(_backend(cluster).get("MTU", 0))


def _backend(cluster: Cluster) -> Mapping[str, Any]:
    """Return what the inventory sets of it; the same on every host, else it is refused."""
    found: Mapping[str, Any] = cluster.config.get("flannel", {}).get("Backend") or {}
    return found


NETWORK = PodNetwork(
    name="flannel", ours=True, config_dir=CONFIG_DIR, bin_dir=BINARIES_DIR, keeps=(DIRECTORY,),
    plugins=("ptp", "host-local", "portmap"), cni_config=CNI_CONFIG, write_cni_config=WRITE_CNI_CONFIG, unit=UNIT,
    announces="flannel.alpha.coreos.com/backend-data",
    items=items, objects=objects, rules=rules, device=device, packets=packets, largest=largest,
    leaves=(Leaving("netdev", "flannel*"), Leaving("nft", "ip flannel-ipv4"), Leaving("nft", "ip6 flannel-ipv6"),
            Leaving("chains", "FLANNEL-"),
            Leaving("data", str(PurePosixPath(SUBNET_ENV).parent)), Leaving("data", CONFIG_DIR)))
