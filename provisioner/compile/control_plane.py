"""kube-apiserver: its flags, who may ask it without a name, what it warns of, and what it writes down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from provisioner.compile import pki
from provisioner.compile.context import HostContext
from provisioner.compile.parts import BIN_DIR, binary, credential, rendered, service
from provisioner.compile.render import command_line
from provisioner.model.desired import Item
from provisioner.model.endpoint import Endpoint
from provisioner.model.ports import APISERVER, ETCD_CLIENT

AUTHENTICATION_CONFIG = "/etc/kubernetes/authentication-config.yaml"
ADMISSION_CONFIG = "/etc/kubernetes/admission-config.yaml"
AUDIT_POLICY = "/etc/kubernetes/audit-policy.yaml"
AUDIT_DIR = "/var/log/kubernetes"     # made by systemd: LogsDirectory= in the unit

# Forward secrecy and AEAD only; the first three are TLS 1.3's, which is all that we speak. CIS 1.2.29 wants the list.
CIPHER_SUITES = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
)
TLS_MIN_VERSION = "VersionTLS13"
EMULATION = ("emulated-version", "min-compatibility-version")

UNIT = pki.APISERVER_UNIT
SECRET_FILES = (pki.ENCRYPTION_CONFIG, pki.SA_KEY)
CONFIGS = (AUTHENTICATION_CONFIG, ADMISSION_CONFIG, AUDIT_POLICY)
INPUTS = (
    *CONFIGS, pki.ENCRYPTION_CONFIG, pki.CA, pki.ETCD_CA, pki.FRONT_PROXY_CA, pki.SA_KEY, pki.SA_PUB,
    pki.APISERVER.path, pki.APISERVER_ETCD.path, pki.APISERVER_KUBELET.path, pki.FRONT_PROXY.path,
    f"{BIN_DIR}/kube-apiserver",
)


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the API server of a control plane, and kubectl for its people."""
    if not ctx.is_control_plane:
        return
    merged = ctx.flags("kube-apiserver", flags(ctx))
    unit = service(UNIT, "control-plane", INPUTS, component="kube-apiserver",
                   late=ctx.system.late_credentials, credentials=(*pki.credentials(UNIT), *SECRET_FILES),
                   down_with=pki.ETCD_UNIT if ctx.is_etcd else "",
                   command=command_line(f"{BIN_DIR}/kube-apiserver", merged))
    programs = [item for name in ("kube-apiserver", "kubectl") for item in binary(ctx, name, "control-plane")]
    # no secrets, and read by a user that is not root
    configs = [rendered(path, "control-plane", component="kube-apiserver") for path in CONFIGS]
    yield from told_first(ctx, [*programs, *configs], unit)


def etcd_servers(ctx: HostContext) -> list[str]:
    """Return the members an API server talks to: its own host's alone where there is one, else all.

    A dead remote member would cost every API server 10 s and more per hung request; a dead local one makes only its own
    ill, whose clients HAProxy moves to the others.
    """
    if ctx.is_etcd:
        return [f"https://127.0.0.1:{ETCD_CLIENT}"]
    return [Endpoint(host.address, ETCD_CLIENT).url for host in ctx.site.etcd_hosts]


def flags(ctx: HostContext) -> dict[str, object]:
    """Return the API server's flags; on the command line, since an audit reads them there."""
    many = len(ctx.site.control_planes) > 1
    return {
        "advertise-address": ctx.address,
        "secure-port": APISERVER,
        "allow-privileged": True,
        **emulation(ctx),
        **_access(),
        **_audit(),
        **_etcd(ctx),
        **_kubelets(),
        **_aggregation(),
        "encryption-provider-config": credential(UNIT, pki.ENCRYPTION_CONFIG),
        "service-cluster-ip-range": ctx.cluster.network.services,
        "service-account-issuer": f"https://{ctx.cluster.kubernetes_service_name}",
        "service-account-key-file": pki.SA_PUB,
        "service-account-signing-key-file": credential(UNIT, pki.SA_KEY),
        "service-account-extend-token-expiration": False,
        "tls-cert-file": pki.APISERVER.read_at,
        "tls-private-key-file": pki.APISERVER.key_read_at,
        "tls-min-version": TLS_MIN_VERSION,
        "tls-cipher-suites": CIPHER_SUITES,
        "profiling": False,
        # Longer than the 1.3 s in which HAProxy sees /readyz turn red: nobody is sent to a server that stops.
        "shutdown-delay-duration": "10s",
        "shutdown-send-retry-after": True,
        "shutdown-watch-termination-grace-period": "10s",
        # Long HTTP/2 connections move on by and by, so that a server that comes back gets its share.
        "goaway-chance": "0.001" if many else None,
    }


def emulation(ctx: HostContext) -> dict[str, object]:
    """Return what lets a program behave as the minor before its own, and write nothing that this could not read.

    All three programs of a control plane take it (k8s.io/component-base/compatibility, KEP-4330).
    """
    return dict.fromkeys(EMULATION, f"kube={ctx.emulates}") if ctx.emulates else {}


def told_first(ctx: HostContext, programs: Sequence[Item], unit: Sequence[Item]) -> list[Item]:
    """Return a unit and its programs in the order in which they are written; the unit's file is its first item.

    What tells a program to behave as an older one comes before the program, and goes after it: so a host that loses its
    power in between never starts a new program that was not told.
    """
    return [unit[0], *programs, *unit[1:]] if ctx.emulates else [*programs, *unit]


def _access() -> dict[str, object]:
    return {
        "authentication-config": AUTHENTICATION_CONFIG,
        "authorization-mode": "Node,RBAC",
        "client-ca-file": pki.CA,
        # An external address of a Service takes traffic away from whomever it really belongs to (CVE-2020-8554).
        "enable-admission-plugins": "NodeRestriction,DenyServiceExternalIPs",
        "admission-control-config-file": ADMISSION_CONFIG,
    }


def _audit() -> dict[str, object]:
    """Return where the audit log goes and how much of it is kept: at most 1.1 GB (CIS 1.2.16 to 1.2.19)."""
    return {
        "audit-policy-file": AUDIT_POLICY,
        "audit-log-path": f"{AUDIT_DIR}/audit.log",
        "audit-log-maxage": 30,
        "audit-log-maxbackup": 10,
        "audit-log-maxsize": 100,
    }


def _etcd(ctx: HostContext) -> dict[str, object]:
    return {
        "etcd-servers": etcd_servers(ctx),
        "etcd-cafile": pki.ETCD_CA,
        "etcd-certfile": pki.APISERVER_ETCD.read_at,
        "etcd-keyfile": pki.APISERVER_ETCD.key_read_at,
    }


def _kubelets() -> dict[str, object]:
    return {
        "kubelet-certificate-authority": pki.CA,
        "kubelet-client-certificate": pki.APISERVER_KUBELET.read_at,
        "kubelet-client-key": pki.APISERVER_KUBELET.key_read_at,
        "kubelet-preferred-address-types": "InternalIP,Hostname",
    }


def _aggregation() -> dict[str, object]:
    return {
        "enable-aggregator-routing": True,
        "proxy-client-cert-file": pki.FRONT_PROXY.read_at,
        "proxy-client-key-file": pki.FRONT_PROXY.key_read_at,
        "requestheader-client-ca-file": pki.FRONT_PROXY_CA,
        "requestheader-allowed-names": pki.FRONT_PROXY.common_name,
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
    }
