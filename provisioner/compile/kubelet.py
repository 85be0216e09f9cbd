"""The kubelet: its configuration with the secure values set, and its unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provisioner.compile import pki
from provisioner.compile.context import CLUSTER_DOMAIN, HostContext
from provisioner.compile.control_plane import CIPHER_SUITES
from provisioner.compile.parts import BIN_DIR, binary, service
from provisioner.compile.render import command_line, merged, render
from provisioner.compile.runtime import CONTAINERD_SOCKET
from provisioner.model.cluster import Role
from provisioner.model.desired import Directory, File, Item
from provisioner.model.ports import KUBELET, KUBELET_HEALTH

CONFIG = "/var/lib/kubelet/config.yaml"
KUBECONFIG = "/etc/kubernetes/kubelet.conf"
INPUTS = (CONFIG, KUBECONFIG, pki.CA, pki.KUBELET_CLIENT.path, pki.KUBELET_SERVING.path, f"{BIN_DIR}/kubelet")


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the kubelet of a node."""
    if not ctx.is_node:
        return
    yield from binary(ctx, "kubelet", "node")
    yield Directory(path="/var/lib/kubelet", phase="node", component="kubelet", mode=0o750)
    text = render(
        CONFIG, ca=pki.CA, certificate=pki.KUBELET_SERVING.path, key=pki.KUBELET_SERVING.key_path,
        ciphers=CIPHER_SUITES, dns_ip=ctx.cluster.dns_ip, domain=CLUSTER_DOMAIN, socket=CONTAINERD_SOCKET,
        port=KUBELET, health_port=KUBELET_HEALTH, taints=taints(ctx))
    yield File(path=CONFIG, phase="node", component="kubelet", mode=0o600,
               content=merged(text, ctx.config("kubelet")))
    yield from service("kubelet.service", "node", INPUTS, component="kubelet",
                       command=command_line(f"{BIN_DIR}/kubelet", ctx.flags("kubelet", flags(ctx))))


def flags(ctx: HostContext) -> dict[str, Any]:
    """Return what the kubelet takes only as a flag."""
    labels = [f"{key}={value}" for key, value in sorted(ctx.host.spec.labels.items())]
    return {
        "config": CONFIG,
        "kubeconfig": KUBECONFIG,
        "node-ip": ctx.address,
        # Only where it must be: an audit (CIS 4.2.7) takes the flag as a way to pose as another node.
        "hostname-override": ctx.name if ctx.facts.hostname != ctx.name else None,
        "node-labels": labels or None,
    }


def taints(ctx: HostContext) -> list[dict[str, str]]:
    """Return the taints that the node registers with; a control plane that is also a worker takes every Pod."""
    found = [taint.model_dump() for taint in ctx.host.spec.taints]
    if ctx.is_control_plane and Role.WORKER not in ctx.host.roles:
        found.insert(0, {"key": "node-role.kubernetes.io/control-plane", "value": "", "effect": "NoSchedule"})
    return found
