"""kube-controller-manager and kube-scheduler: one of each on every control plane, one of each active."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.compile import pki
from provisioner.compile.context import HostContext
from provisioner.compile.control_plane import CIPHER_SUITES, TLS_MIN_VERSION, emulation, told_first
from provisioner.compile.parts import BIN_DIR, binary, credential, service
from provisioner.compile.render import command_line
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Item
from provisioner.model.validate_config import NODE_PREFIX, NODE_PREFIX_IPV6

MANAGER_CONF = "/etc/kubernetes/controller-manager.conf"
SCHEDULER_CONF = "/etc/kubernetes/scheduler.conf"

# Requests that it may make at once. A new leader sees to an account for each of its 40 controllers before it starts
# them, then to their tokens: with upstream's 30, and then 20 a second, the last of them cannot act for 4 s.
MANAGER_BURST = 200

MANAGER_INPUTS = (MANAGER_CONF, pki.CONTROLLER_MANAGER.path, pki.CA, pki.CA_KEY, pki.FRONT_PROXY_CA, pki.SA_KEY,
                  f"{BIN_DIR}/kube-controller-manager")
MANAGER_SECRETS = (MANAGER_CONF, *pki.credentials(pki.MANAGER_UNIT), pki.CA_KEY, pki.SA_KEY)
SCHEDULER_INPUTS = (SCHEDULER_CONF, pki.SCHEDULER.path, pki.CA, pki.FRONT_PROXY_CA, f"{BIN_DIR}/kube-scheduler")
SCHEDULER_SECRETS = (SCHEDULER_CONF, *pki.credentials(pki.SCHEDULER_UNIT))


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the controllers of a control plane."""
    if not ctx.is_control_plane:
        return
    scheduler_flags = _common_flags(ctx, pki.SCHEDULER, SCHEDULER_CONF)
    rows = (("kube-controller-manager", manager_flags(ctx), MANAGER_INPUTS, MANAGER_SECRETS),
            ("kube-scheduler", scheduler_flags, SCHEDULER_INPUTS, SCHEDULER_SECRETS))
    for name, flags, inputs, secrets in rows:
        command = command_line(f"{BIN_DIR}/{name}", ctx.flags(name, flags))
        unit = service(f"{name}.service", "controllers", inputs, component=name,
                       late=ctx.system.late_credentials, credentials=secrets, command=command)
        yield from told_first(ctx, binary(ctx, name, "controllers"), unit)


def _common_flags(ctx: HostContext, leaf: pki.Leaf, kubeconfig: str) -> dict[str, object]:
    kubeconfig = credential(leaf.unit, kubeconfig)
    return {
        **emulation(ctx),
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "client-ca-file": pki.CA,
        "requestheader-client-ca-file": pki.FRONT_PROXY_CA,
        "requestheader-allowed-names": pki.FRONT_PROXY.common_name,
        "bind-address": "127.0.0.1",
        "leader-elect": True,
        "profiling": False,
        "tls-cert-file": leaf.read_at,
        "tls-private-key-file": leaf.key_read_at,
        "tls-min-version": TLS_MIN_VERSION,
        "tls-cipher-suites": CIPHER_SUITES,
    }


def manager_flags(ctx: HostContext) -> dict[str, object]:
    """Return the controller manager's flags."""
    network = ctx.cluster.network
    return {
        **_common_flags(ctx, pki.CONTROLLER_MANAGER, MANAGER_CONF),
        "cluster-name": ctx.cluster.cluster,
        "allocate-node-cidrs": True,
        "cluster-cidr": network.pods,
        **_masks(ctx.cluster),
        "service-cluster-ip-range": network.services,
        "cluster-signing-cert-file": pki.CA,
        "cluster-signing-key-file": credential(pki.MANAGER_UNIT, pki.CA_KEY),
        "root-ca-file": pki.CA,
        "service-account-private-key-file": credential(pki.MANAGER_UNIT, pki.SA_KEY),
        "use-service-account-credentials": True,
        "terminated-pod-gc-threshold": 1000,
        "kube-api-burst": MANAGER_BURST,
    }


def _masks(cluster: Cluster) -> dict[str, object]:
    """Return how large a part of each Pod range a node is given; with two ranges the one flag for both is refused."""
    if not cluster.network.is_dual:
        return {"node-cidr-mask-size": NODE_PREFIX}
    return {"node-cidr-mask-size-ipv4": NODE_PREFIX, "node-cidr-mask-size-ipv6": NODE_PREFIX_IPV6}
