"""flannel: a subnet for every node, vxlan between them, and the CNI configuration that follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from provisioner.compile import pki
from provisioner.compile.context import HostContext
from provisioner.compile.parts import BIN_DIR, binary, directories, rendered, service
from provisioner.compile.render import command_line, merged, render, variables_unset
from provisioner.compile.runtime import CNI_CONFIG, WRITE_CNI_CONFIG
from provisioner.model.cluster import Cluster
from provisioner.model.desired import File, Item
from provisioner.model.ports import FLANNEL_HEALTH

NET_CONF = "/etc/kube-flannel/net-conf.json"
SUBNET_ENV = "/run/flannel/subnet.env"
# Where earlier versions wrote it; a containerd of somebody else's would take it there.
OLD_CNI_CONFIG = "/etc/cni/net.d/10-kubewright.conflist"
UNIT = "flanneld.service"
INPUTS = (NET_CONF, pki.FLANNEL_KUBECONFIG, pki.CA, pki.KUBELET_CLIENT.path, WRITE_CNI_CONFIG, f"{BIN_DIR}/flanneld")


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the Pod network of a node, unless the inventory brings its own."""
    if not ctx.is_node or ctx.cluster.network.plugin != "flannel":
        return
    yield from binary(ctx, "flanneld", "network")
    yield from directories(["/etc/kube-flannel"], "network")
    given = ctx.flags("flannel", flags(ctx))
    text = render(NET_CONF, pods=ctx.cluster.network.pods[0])
    yield File(path=NET_CONF, phase="network", component="flannel",
               content=merged(text, ctx.config("flannel"), form="json"))
    # Before containerd starts: it reads a directory in which a node that already has its subnet has its file.
    yield rendered(WRITE_CNI_CONFIG, "runtime", component="flannel", mode=0o755,
                   subnet_env=SUBNET_ENV, cni_config=CNI_CONFIG)
    yield from service(
        UNIT, "network", INPUTS, component="flannel", node=ctx.name, write_cni_config=WRITE_CNI_CONFIG,
        cni_config_dir=str(PurePosixPath(CNI_CONFIG).parent), old_cni_config=OLD_CNI_CONFIG,
        old_cni_config_dir=str(PurePosixPath(OLD_CNI_CONFIG).parent), unset=variables_unset("FLANNELD", given),
        command=command_line(f"{BIN_DIR}/flanneld", given))


def rules(cluster: Cluster) -> tuple[tuple[str, str], ...]:
    """Return (chain, words of a rule in it): what flannel writes when it starts and never again."""
    return (("ip flannel-ipv4 postrtg", "masquerade"),
            ("ip flannel-ipv4 forward", f"ip saddr {cluster.network.pods[0]} accept"))


def flags(ctx: HostContext) -> dict[str, object]:
    """Return flanneld's flags."""
    return {
        "kube-subnet-mgr": True,
        "kubeconfig-file": pki.FLANNEL_KUBECONFIG,
        "net-config-path": NET_CONF,
        "subnet-file": SUBNET_ENV,
        "iface": ctx.address,
        "ip-masq": True,
        "healthz-ip": "127.0.0.1",
        "healthz-port": FLANNEL_HEALTH,
    }
