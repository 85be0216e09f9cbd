"""The kubelet: its configuration with the secure values set, and its unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provisioner.compile import pki, registries
from provisioner.compile.context import HostContext
from provisioner.compile.control_plane import CIPHER_SUITES
from provisioner.compile.parts import BIN_DIR, binary, directories, rendered, service
from provisioner.compile.render import command_line, merged, render
from provisioner.compile.runtime import CONTAINERD_SOCKET
from provisioner.compile.system import SYSCTL_FILE
from provisioner.model.cluster import Host, Role, Taint
from provisioner.model.desired import Directory, File, Item
from provisioner.model.ports import KUBELET, KUBELET_HEALTH

CONFIG = "/var/lib/kubelet/config.yaml"
KUBECONFIG = "/etc/kubernetes/kubelet.conf"
# What a kubelet registers a new Node with. It never looks again, so this is no input that a restart is due for: Nodes
# that exist get their labels and taints over the API (operate/nodes.py).
REGISTRATION = "/etc/kubewright/kubelet/registration.env"
ROLE_PREFIX = "node-role.kubernetes.io/"
INPUTS = (CONFIG, KUBECONFIG, pki.CA, pki.KUBELET_CLIENT.path, pki.KUBELET_SERVING.path, f"{BIN_DIR}/kubelet")


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the kubelet of a node."""
    if not ctx.is_node:
        return
    yield from binary(ctx, "kubelet", "node")
    yield Directory(path="/var/lib/kubelet", phase="node", component="kubelet", mode=0o750)
    text = render(
        CONFIG, ca=pki.CA, certificate=pki.KUBELET_SERVING.path, key=pki.KUBELET_SERVING.key_path,
        ciphers=CIPHER_SUITES, dns_ip=ctx.cluster.dns_ip, domain=ctx.cluster.network.domain, socket=CONTAINERD_SOCKET,
        port=KUBELET, health_port=KUBELET_HEALTH,
        # Only where it must be: the host's own file names a stub, which in a Pod would be the Pod itself.
        resolv_conf=ctx.facts.resolv_conf if ctx.facts.resolv_conf != "/etc/resolv.conf" else "")
    yield File(path=CONFIG, phase="node", component="kubelet", mode=0o600,
               content=merged(text, ctx.config("kubelet")))
    yield from directories(["/etc/kubewright/kubelet"], "node")
    yield rendered(REGISTRATION, "node", component="kubelet", flags=registration(ctx.host))
    yield from registries.logins(ctx)
    inputs = (*INPUTS, registries.PROVIDERS) if registries.with_login(ctx.cluster) else INPUTS
    yield from service("kubelet.service", "node", inputs, component="kubelet", registration=REGISTRATION,
                       sysctls=SYSCTL_FILE,
                       command=command_line(f"{BIN_DIR}/kubelet", ctx.flags("kubelet", flags(ctx))))


def flags(ctx: HostContext) -> dict[str, Any]:
    """Return what the kubelet takes only as a flag."""
    return {
        "config": CONFIG,
        "kubeconfig": KUBECONFIG,
        "node-ip": ctx.addresses if ctx.cluster.network.is_dual else ctx.address,
        # Only where it must be: an audit (CIS 4.2.7) takes the flag as a way to pose as another node.
        "hostname-override": ctx.name if ctx.facts.hostname != ctx.name else None,
        **registries.flags(ctx.cluster),
    }


def registration(host: Host) -> list[str]:
    """Return the flags that a new Node gets its labels and taints by, from its first moment.

    Not the labels of its roles: a kubelet may not set these itself (NodeRestriction).
    """
    labels = ",".join(f"{key}={value}" for key, value in sorted(host.spec.labels.items()))
    marks = ",".join(f"{taint.key}={taint.value}:{taint.effect}" for taint in taints(host))
    return [f"--{name}={value}" for name, value in (("node-labels", labels), ("register-with-taints", marks)) if value]


def labels(host: Host) -> dict[str, str]:
    """Return the labels of the host's Node: its own, and those of its roles, as kubectl shows them under ROLES."""
    roles = host.roles & {Role.CONTROL_PLANE, Role.WORKER}
    return {f"{ROLE_PREFIX}{role}": "" for role in sorted(roles)} | dict(sorted(host.spec.labels.items()))


def taints(host: Host) -> tuple[Taint, ...]:
    """Return the taints of the host's Node; a control plane that is also a worker takes every Pod."""
    if Role.CONTROL_PLANE not in host.roles or Role.WORKER in host.roles:
        return host.spec.taints
    own = Taint(key=f"{ROLE_PREFIX}{Role.CONTROL_PLANE}", effect="NoSchedule")
    return (own, *(t for t in host.spec.taints if (t.key, t.effect) != (own.key, own.effect)))
