"""kube-proxy: Services by nftables, on systems too old for that by iptables."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.compile import pki
from provisioner.compile.context import HostContext
from provisioner.compile.parts import BIN_DIR, binary, service
from provisioner.compile.render import command_line, merged, render
from provisioner.model.cluster import Cluster
from provisioner.model.desired import File, Item
from provisioner.model.families import System
from provisioner.model.ports import KUBE_PROXY_HEALTH, KUBE_PROXY_METRICS

CONFIG = "/etc/kubernetes/kube-proxy.yaml"
KUBECONFIG = "/etc/kubernetes/kube-proxy.conf"
# (chain, words of a rule in it), in each family: what kube-proxy writes once and looks after no more until an hour has
# passed. By iptables it looks every 30 s for a chain of its own, and writes all anew without it (pkg/util/iptables,
# Monitor).
_RULES = (
    ("kube-proxy nat-prerouting", "jump services"),
    ("kube-proxy nat-output", "jump services"),
    ("kube-proxy nat-postrouting", "jump masquerading"),
    ("kube-proxy services", "@service-ips"),
)
UNIT = "kube-proxy.service"
INPUTS = (CONFIG, KUBECONFIG, pki.CA, pki.KUBE_PROXY.path, f"{BIN_DIR}/kube-proxy")


def rules(cluster: Cluster, system: System) -> tuple[tuple[str, str], ...]:
    """Return the (chain, words) that it keeps on a node; none where it looks after them itself."""
    if system.rules != "nftables":
        return ()
    families = ("ip", "ip6") if cluster.network.is_dual else ("ip",)
    return tuple((f"{family} {chain}", words) for family in families for chain, words in _RULES)


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the proxy of a node."""
    if not ctx.is_node:
        return
    yield from binary(ctx, "kube-proxy", "node")
    text = render(
        CONFIG, name=ctx.name, mode=ctx.system.rules, pods=ctx.cluster.network.pods, kubeconfig=KUBECONFIG,
        metrics_port=KUBE_PROXY_METRICS, health_port=KUBE_PROXY_HEALTH)
    yield File(path=CONFIG, phase="node", component="kube-proxy", mode=0o600,
               content=merged(text, ctx.config("kube-proxy")))
    flags = ctx.flags("kube-proxy", {"config": CONFIG})
    yield from service(UNIT, "node", INPUTS, component="kube-proxy",
                       command=command_line(f"{BIN_DIR}/kube-proxy", flags))
