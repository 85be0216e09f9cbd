"""Every certificate in one table, the kubeconfigs that use them, and the CAs and keys beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from provisioner.compile.context import HostContext
from provisioner.compile.parts import credential, directories
from provisioner.compile.render import render
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Certificate, Directory, File, Item
from provisioner.model.phases import PhaseName
from provisioner.model.ports import LOCAL_API

PKI = "/etc/kubernetes/pki"
CA = f"{PKI}/ca.crt"
CA_KEY = f"{PKI}/ca.key"
SA_KEY = f"{PKI}/sa.key"
SA_PUB = f"{PKI}/sa.pub"
ETCD_CA = f"{PKI}/etcd/ca.crt"
FRONT_PROXY_CA = f"{PKI}/front-proxy-ca.crt"
# Where a host has the CA certificates -> the names that they have in the inventory's store.
CAS = {CA: "ca.crt", ETCD_CA: "etcd-ca.crt", FRONT_PROXY_CA: "front-proxy-ca.crt"}
ENCRYPTION_CONFIG = "/etc/kubernetes/encryption-config.yaml"

HAPROXY_HEALTH = "/etc/haproxy/health.crt"
ADMIN_GROUP = "kubewright:cluster-admins"
KUBELET_CLIENT_USER = "kube-apiserver-kubelet-client"
NODES_GROUP = "system:nodes"
# Common to all members of etcd and to nobody else: a client that comes through a tunnel asks for it, and members know
# each other by it.
MEMBER_NAME = "etcd"

# The units that run as users of their own.
ETCD_UNIT = "etcd.service"
APISERVER_UNIT = "kube-apiserver.service"
MANAGER_UNIT = "kube-controller-manager.service"
SCHEDULER_UNIT = "kube-scheduler.service"

Where = Callable[[HostContext], bool]
Sans = Callable[[HostContext], tuple[str, ...]]


def _control_plane(ctx: HostContext) -> bool:
    return ctx.is_control_plane


def _etcd(ctx: HostContext) -> bool:
    return ctx.is_etcd


def _node(ctx: HostContext) -> bool:
    return ctx.is_node


def _used(ctx: HostContext) -> bool:
    return ctx.is_used


def _no_sans(ctx: HostContext) -> tuple[str, ...]:
    return ()


def _host_sans(ctx: HostContext) -> tuple[str, ...]:
    return ctx.name, *ctx.addresses


def _etcd_sans(ctx: HostContext) -> tuple[str, ...]:
    return MEMBER_NAME, ctx.name, "localhost", ctx.address, "127.0.0.1"


def _loopback_sans(ctx: HostContext) -> tuple[str, ...]:
    return "localhost", "127.0.0.1"


def _apiserver_sans(ctx: HostContext) -> tuple[str, ...]:
    api = ctx.cluster.api
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc",
               ctx.cluster.kubernetes_service_name, ctx.cluster.kubernetes_service_ip)
    vip = (str(api.vip),) if api.vip else ()
    external = (ctx.cluster.api_endpoint.host,) if api.external else ()
    return (*service, ctx.name, "localhost", *ctx.addresses, "127.0.0.1", *vip, *external, *api.extra_sans)


@dataclass(frozen=True)
class Leaf:
    """One row: a leaf certificate, where it lies, who signs it, whom it names, and the hosts that have it.

    `{host}` in the common name stands for the host's name. `key` differs from the usual `.key` only where a program
    wants it so. `unit` names the unit that runs as a user of its own and so is given private copies of both files when
    it starts. `phase` is later than the certificates' own where a running reader must not be surprised.
    """

    path: str
    ca: str
    common_name: str
    where: Where
    sans: Sans = _no_sans
    organization: str = ""
    server: bool = False
    client: bool = False
    key: str = ""
    unit: str = ""
    phase: PhaseName = "pki"

    @property
    def key_path(self) -> str:
        return self.key or self.path.removesuffix(".crt") + ".key"

    @property
    def read_at(self) -> str:
        """Return where the program that uses the certificate reads it."""
        return credential(self.unit, self.path) if self.unit else self.path

    @property
    def key_read_at(self) -> str:
        """Return where the program that uses the certificate reads its key."""
        return credential(self.unit, self.key_path) if self.unit else self.key_path


# In their units' own phases, so that they change hands host by host, together with the restart: a member of a cluster
# from the time when the user etcd owned these reads them at every handshake.
ETCD_SERVER = Leaf(f"{PKI}/etcd/server.crt", "etcd", "{host}", _etcd, _etcd_sans, server=True, client=True,
                   unit=ETCD_UNIT, phase="etcd")
ETCD_PEER = Leaf(f"{PKI}/etcd/peer.crt", "etcd", "{host}", _etcd, _etcd_sans, server=True, client=True,
                 unit=ETCD_UNIT, phase="etcd")
ETCD_HEALTH = Leaf(f"{PKI}/etcd/healthcheck-client.crt", "etcd", "kube-etcd-healthcheck-client", _etcd, client=True)
APISERVER = Leaf(f"{PKI}/apiserver.crt", "cluster", "kube-apiserver", _control_plane, _apiserver_sans, server=True,
                 unit=APISERVER_UNIT)
APISERVER_ETCD = Leaf(f"{PKI}/apiserver-etcd-client.crt", "etcd", "kube-apiserver-etcd-client", _control_plane,
                      client=True, unit=APISERVER_UNIT)
APISERVER_KUBELET = Leaf(f"{PKI}/apiserver-kubelet-client.crt", "cluster", KUBELET_CLIENT_USER, _control_plane,
                         client=True, unit=APISERVER_UNIT)
FRONT_PROXY = Leaf(f"{PKI}/front-proxy-client.crt", "front-proxy", "front-proxy-client", _control_plane, client=True,
                   unit=APISERVER_UNIT)
# Likewise: their kubeconfigs name the copies, which the units of an older cluster do not have, and a controller that
# loses its lease and starts again meanwhile must find what it knows. They serve by them too, on loopback: without one
# each makes two RSA keys at every start, and nobody can tell by what it makes who answers.
CONTROLLER_MANAGER = Leaf(f"{PKI}/controller-manager.crt", "cluster", "system:kube-controller-manager",
                          _control_plane, _loopback_sans, server=True, client=True, unit=MANAGER_UNIT,
                          phase="controllers")
SCHEDULER = Leaf(f"{PKI}/scheduler.crt", "cluster", "system:kube-scheduler", _control_plane, _loopback_sans,
                 server=True, client=True, unit=SCHEDULER_UNIT, phase="controllers")
ADMIN = Leaf(f"{PKI}/admin.crt", "cluster", "kubernetes-admin", _control_plane, organization=ADMIN_GROUP, client=True)
KUBELET_CLIENT = Leaf(f"{PKI}/kubelet-client.crt", "cluster", "system:node:{host}", _node,
                      organization=NODES_GROUP, client=True)
KUBELET_SERVING = Leaf(f"{PKI}/kubelet.crt", "cluster", "system:node:{host}", _node, _host_sans,
                       organization=NODES_GROUP, server=True)
KUBE_PROXY = Leaf(f"{PKI}/kube-proxy.crt", "cluster", "system:kube-proxy", _node, client=True)
# No group: it may ask /readyz, which every authenticated user may, and read which machines are hosts. HAProxy looks for
# X's key in X.key.
HAPROXY = Leaf(HAPROXY_HEALTH, "cluster", "kubewright:haproxy", _used, client=True, key=f"{HAPROXY_HEALTH}.key")

TABLE = (
    ETCD_SERVER, ETCD_PEER, ETCD_HEALTH,
    APISERVER, APISERVER_ETCD, APISERVER_KUBELET, FRONT_PROXY,
    CONTROLLER_MANAGER, SCHEDULER, ADMIN,
    KUBELET_CLIENT, KUBELET_SERVING, KUBE_PROXY, HAPROXY,
)

# Each names its certificate by path, so that a renewal rewrites no kubeconfig.
KUBECONFIGS = {
    "/etc/kubernetes/admin.conf": ADMIN,
    "/etc/kubernetes/controller-manager.conf": CONTROLLER_MANAGER,
    "/etc/kubernetes/scheduler.conf": SCHEDULER,
    "/etc/kubernetes/kubelet.conf": KUBELET_CLIENT,
    "/etc/kubernetes/kube-proxy.conf": KUBE_PROXY,
}


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the host's certificates, keys and kubeconfigs."""
    if not ctx.is_used:
        return
    yield from directories(["/etc/kubernetes", PKI], "pki")
    yield File(path=CA, phase="pki", component="pki", content=ctx.public("ca.crt"))
    yield Directory(path="/etc/haproxy", phase="pki", component="haproxy")
    if ctx.is_etcd or ctx.is_control_plane:
        yield Directory(path=f"{PKI}/etcd", phase="pki", component="pki")
        yield File(path=ETCD_CA, phase="pki", component="pki", content=ctx.public("etcd-ca.crt"))
    if ctx.is_control_plane:
        yield from _control_plane_files(ctx)
    yield from (_certificate(leaf, ctx) for leaf in TABLE if leaf.where(ctx))
    yield from (kubeconfig(path, leaf, ctx) for path, leaf in KUBECONFIGS.items() if leaf.where(ctx))


def metrics_server(cluster: Cluster) -> Certificate:
    """Return a leaf in the cluster, which a Secret holds: the API servers ask for SERVICE.NAMESPACE.svc."""
    name = "metrics-server.kube-system.svc"
    return Certificate(
        path="kube-system/metrics-server-tls", key_path="kube-system/metrics-server-tls", phase="addons",
        component="metrics-server", ca="cluster", common_name=name,
        dns_names=(name, f"{name}.{cluster.network.domain}"), server=True)


def _control_plane_files(ctx: HostContext) -> Iterator[Item]:
    yield File(path=FRONT_PROXY_CA, phase="pki", component="pki", content=ctx.public("front-proxy-ca.crt"))
    yield File(path=SA_PUB, phase="pki", component="pki", content=ctx.public("sa.pub"))
    for path, name in ((CA_KEY, "ca.key"), (SA_KEY, "sa.key"), (ENCRYPTION_CONFIG, "encryption-config")):
        yield File(path=path, phase="pki", component="pki", secret=ctx.secret(name), mode=0o600)


def _certificate(leaf: Leaf, ctx: HostContext) -> Certificate:
    names, addresses = _split(leaf.sans(ctx))
    return Certificate(
        path=leaf.path, key_path=leaf.key_path, phase=leaf.phase, component="pki", ca=leaf.ca,
        common_name=leaf.common_name.format(host=ctx.name), organization=leaf.organization,
        dns_names=names, ip_addresses=addresses, server=leaf.server, client=leaf.client)


def credentials(unit: str) -> tuple[str, ...]:
    """Return the certificates and keys of which `unit` gets private copies."""
    return tuple(path for leaf in TABLE if leaf.unit == unit for path in (leaf.path, leaf.key_path))


def _split(sans: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and addresses apart, each once, in the order given."""
    names: dict[str, None] = {}
    addresses: dict[str, None] = {}
    for san in sans:
        try:
            addresses[str(ip_address(san))] = None
        except ValueError:
            names[san] = None
    return tuple(names), tuple(addresses)


def kubeconfig(path: str, leaf: Leaf, ctx: HostContext) -> File:
    """Return the kubeconfig at `path` of whoever has the certificate `leaf`, for the API as this host reaches it."""
    text = render(
        "/etc/kubernetes/kubeconfig", cluster=ctx.cluster.cluster, server=f"https://127.0.0.1:{LOCAL_API}", ca=CA,
        user=leaf.common_name.format(host=ctx.name), certificate=leaf.read_at, key=leaf.key_read_at)
    return File(path=path, phase=leaf.phase, component="pki", content=text, mode=0o600)
