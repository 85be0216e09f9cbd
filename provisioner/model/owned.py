"""Flags and fields that other parts of the product rely on: who, and what to set instead.

A program's flag is `flags.NAME`, a field its path; `*` matches within a name. A field's row holds for what is below it
too. Some may be given as long as the value keeps to what is relied on: those rows have a `fault` of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from provisioner.model import ports
from provisioner.model.cluster import Cluster
from provisioner.model.components import network_is_ours
from provisioner.model.endpoint import Endpoint
from provisioner.model.values import pairs, shown

AUDIT_DIR = "/var/log/kubernetes"
Judge = Callable[[Any, Cluster], str]


@dataclass(frozen=True)
class Owned:
    """One row: fields of `component` that are ours, the reason, and what to do instead; or how far they are free."""

    component: str
    names: tuple[str, ...]
    why: str
    instead: str = ""
    fault: Judge | None = None


def owned(component: str, name: str, value: Any, cluster: Cluster) -> str:
    """Return why `name` of `component` cannot be set to `value`, or nothing."""
    for row in rows(component):
        if any(_covers(pattern, name) for pattern in row.names):
            fault = row.fault(value, cluster) if row.fault else "is not yours to set"
            if fault:
                return f"{fault}: {row.why}" + (f"; {row.instead}" if row.instead else "")
    return ""


def rows(component: str) -> Iterator[Owned]:
    """Yield the rows of one component, in the order in which they are asked."""
    yield from (row for row in TABLE if row.component == component)


def _covers(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")


def _flags(*names: str) -> tuple[str, ...]:
    return tuple(f"flags.{name}" for name in names)


def _listed(value: Any) -> list[str]:
    return [name for name, _ in pairs(value)] if value is not None else []


def _modes(value: Any, cluster: Cluster) -> str:
    modes = _listed(value)
    if "AlwaysAllow" in modes or not {"Node", "RBAC"} <= set(modes):
        return f"{shown(value)} is weaker than Node,RBAC"
    return ""


def _admission_on(value: Any, cluster: Cluster) -> str:
    return "" if "NodeRestriction" in _listed(value) else "NodeRestriction is missing"


def _admission_off(value: Any, cluster: Cluster) -> str:
    return "NodeRestriction cannot be switched off" if "NodeRestriction" in _listed(value) else ""


def _audit_path(value: Any, cluster: Cluster) -> str:
    path = str(value)
    fits = value is not None and (path == "-" or (path.startswith(f"{AUDIT_DIR}/") and "/.." not in path))
    return "" if fits else f"{shown(value)} cannot be written"


def _log_outputs(value: Any, cluster: Cluster) -> str:
    known = {"default", "stdout", "stderr", "systemd/journal"}
    return "" if set(_listed(value)) <= known else f"{shown(value)} cannot be written"


def _shutdown(value: Any, cluster: Cluster) -> str:
    text = str(value).removesuffix("s")
    return "" if text.isdigit() and 5 <= int(text) <= 60 else f"{shown(value)} is not between 5s and 60s"


def _proxy_address(port: int, *hosts: str) -> Judge:
    def fault(value: Any, cluster: Cluster) -> str:
        fits = [str(Endpoint(host, port)) for host in hosts]
        return "" if str(value) in fits else f"must be {' or '.join(fits)}"
    return fault


def _off(value: Any, cluster: Cluster) -> str:
    return "" if value in (False, None) else "cannot be switched on"


def _on(value: Any, cluster: Cluster) -> str:
    return "" if value in (True, "true", None) else "cannot be switched off"


def _stays_on(value: Any, cluster: Cluster) -> str:
    return "" if value in (True, "true") else "cannot be switched off"


def _not_always(value: Any, cluster: Cluster) -> str:
    return "AlwaysAllow lets everybody with a certificate do everything" if value == "AlwaysAllow" else ""


def _free_port(value: Any, cluster: Cluster) -> str:
    return f"{value} is a port of another program of ours" if value in ports.NAMES else ""


def _with_our_network(value: Any, cluster: Cluster) -> str:
    return _stays_on(value, cluster) if network_is_ours(cluster) else ""


def _with_logins(value: Any, cluster: Cluster) -> str:
    return "cannot be set" if any(one.login for one in cluster.registries.values()) else ""


def _with_two_families(value: Any, cluster: Cluster) -> str:
    return "cannot be set in dual stack" if cluster.network.is_dual else ""


_CERTIFICATES = "certificates, their keys and CAs are made from this inventory, lie where every reader expects them, " \
    "and are renewed there"
_PORT = "the port stands in HAProxy, in certificates, in health checks and in the checks of the machines"
_LOCAL_API = "it reaches the API through the HAProxy of its own host"
_PROBED = "gates and `status` ask it at its loopback port"
_LEASE = "one of the control planes' is active at a time, and `up` waits for the change of the lease"
_ON_TRIAL = "`upgrade` sets them while a minor is on trial, and counts on their being set no longer"
_TAKE_OUT = "take it out"
_DATA = "its unit may write to /var/lib/etcd alone, and a member that has lost its data is known by that directory"
_WHO = "a member's name, addresses and first membership are made from the inventory"
_RANGES = "set network.pods or network.services"

TABLE: tuple[Owned, ...] = (
    Owned("etcd", _flags("data-dir", "wal-dir"), _DATA, "mount a disk of its own at /var/lib/etcd"),
    Owned("etcd", _flags("name", "initial-*", "advertise-client-urls", "listen-*", "discovery*", "force-new-cluster"),
          _WHO, _TAKE_OUT),
    Owned("etcd", _flags("client-cert-auth", "peer-client-cert-auth", "*cert-file", "*key-file", "*-ca-file",
                         "auto-tls", "peer-auto-tls", "peer-cert-allowed-*", "client-cert-allowed-*",
                         "*peer-skip-client-san-verification"), _CERTIFICATES, _TAKE_OUT),
    Owned("etcd", _flags("unsafe-no-fsync"), "a power cut would lose what the member has confirmed", fault=_off),
    Owned("etcd", _flags("strict-reconfig-check"), "a change of members could cost the quorum", fault=_on),
    Owned("etcd", _flags("log-outputs"), "its unit may write nowhere else than its data; the journal takes the rest",
          "use stderr", fault=_log_outputs),

    Owned("kube-apiserver", _flags("secure-port", "bind-address", "advertise-address", "permit-*"), _PORT,
          "api.port is the port that people use"),
    Owned("kube-apiserver", _flags("etcd-servers", "etcd-servers-overrides", "etcd-cafile", "etcd-certfile",
                                   "etcd-keyfile", "etcd-prefix"),
          "an API server talks to the etcd of this inventory, under the names by which snapshots find it", _TAKE_OUT),
    Owned("kube-apiserver", _flags("authorization-mode"), "nodes may see and change what is theirs alone, and people "
          "what they were given", "add a mode behind them, such as Node,RBAC,Webhook", fault=_modes),
    Owned("kube-apiserver", _flags("authorization-config"), "authorization-mode is set, and both cannot be",
          "use authorization-mode"),
    Owned("kube-apiserver", _flags("authentication-config", "anonymous-auth", "oidc-*"),
          "/etc/kubernetes/authentication-config.yaml lets load balancers ask /readyz without a name, and with it "
          "these flags cannot stand", _TAKE_OUT),
    Owned("kube-apiserver", _flags("enable-admission-plugins"), "without it a node may change every other node",
          "add NodeRestriction", fault=_admission_on),
    Owned("kube-apiserver", _flags("admission-control"), "enable-admission-plugins is set, and both cannot be",
          "use enable-admission-plugins"),
    Owned("kube-apiserver", _flags("disable-admission-plugins"), "without it a node may change every other node",
          fault=_admission_off),
    Owned("kube-apiserver", _flags("audit-log-path"), f"its unit may write to {AUDIT_DIR} alone",
          f"use {AUDIT_DIR}/NAME, or - for the journal", fault=_audit_path),
    Owned("kube-apiserver", _flags("shutdown-delay-duration"), "HAProxy must see that a server stops before it does, "
          "and systemd waits 120 s in all", fault=_shutdown),
    Owned("kube-apiserver", _flags("service-cluster-ip-range"), "routes, certificates and cluster DNS follow from it",
          "set network.services"),
    Owned("kube-apiserver", _flags("encryption-provider-config*"), "Secrets are encrypted with the keys of this "
          "inventory", _TAKE_OUT),
    Owned("kube-apiserver", _flags(
        "client-ca-file", "tls-cert-file", "tls-private-key-file", "tls-sni-cert-key", "cert-dir",
        "kubelet-certificate-authority", "kubelet-client-*", "proxy-client-*", "requestheader-*",
        "service-account-key-file", "service-account-signing-key-file", "service-account-signing-endpoint"),
        _CERTIFICATES, "names for the certificate go into api.extra_sans"),

    Owned("kube-apiserver", _flags("*emulation-forward-compatible"), _ON_TRIAL, _TAKE_OUT),
    *(Owned(name, _flags("emulated-version", "min-compatibility-version"), _ON_TRIAL, _TAKE_OUT)
      for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")),
    *(Owned(name, _flags("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig", "master"), _LOCAL_API,
            _TAKE_OUT) for name in ("kube-controller-manager", "kube-scheduler")),
    *(Owned(name, _flags("bind-address", "secure-port", "permit-*"), _PROBED, _TAKE_OUT)
      for name in ("kube-controller-manager", "kube-scheduler")),
    *(Owned(name, _flags("leader-elect", "leader-elect-resource-*"), _LEASE, _TAKE_OUT)
      for name in ("kube-controller-manager", "kube-scheduler")),
    *(Owned(name, _flags("client-ca-file", "requestheader-*", "cert-dir", "tls-cert-file", "tls-private-key-file",
                         "tls-sni-cert-key"), _CERTIFICATES, _TAKE_OUT)
      for name in ("kube-controller-manager", "kube-scheduler")),
    Owned("kube-controller-manager", _flags("cluster-signing-*-file", "root-ca-file",
                                            "service-account-private-key-file"), _CERTIFICATES, _TAKE_OUT),
    Owned("kube-controller-manager", _flags("cluster-name"), "it is `cluster`", _TAKE_OUT),
    Owned("kube-controller-manager", _flags("cluster-cidr", "service-cluster-ip-range", "node-cidr-mask-size-ipv*"),
          "the ranges stand in the inventory, and flannel, kube-proxy and certificates follow from them", _RANGES),
    Owned("kube-controller-manager", _flags("node-cidr-mask-size"), "it refuses one size for two families: a node is "
          "given a /24 and a /64", fault=_with_two_families),
    Owned("kube-controller-manager", _flags("allocate-node-cidrs"), "flannel takes its subnet from the Node",
          "with plugin: none it may be", fault=_with_our_network),
    Owned("kube-scheduler", _flags("config"), "with a file of its own it reads none of the flags that are set here",
          _TAKE_OUT),

    Owned("kubelet", ("kind", "apiVersion"), "they say what the file is", _TAKE_OUT),
    Owned("kubelet", ("address", "port", "enableServer"), _PORT, _TAKE_OUT),
    Owned("kubelet", ("healthzPort", "healthzBindAddress"), _PROBED, _TAKE_OUT),
    Owned("kubelet", ("readOnlyPort",), "it cannot listen there", fault=_free_port),
    Owned("kubelet", ("clusterDNS", "flags.cluster-dns"), "CoreDNS answers at the tenth address of network.services",
          "set network.services"),
    Owned("kubelet", ("clusterDomain", "flags.cluster-domain"), "CoreDNS, certificates and the issuer of tokens have "
          "the same name", "set network.domain"),
    Owned("kubelet", ("authentication.x509", "tlsCertFile", "tlsPrivateKeyFile", "rotateCertificates",
                      "serverTLSBootstrap"), _CERTIFICATES, _TAKE_OUT),
    Owned("kubelet", ("authentication.webhook.enabled",), "metrics-server asks with its token, which the kubelet "
          "has to show to the API server", fault=_stays_on),
    Owned("kubelet", ("authorization.mode",), "the API server decides who may ask a kubelet", "use Webhook",
          fault=_not_always),
    Owned("kubelet", ("containerRuntimeEndpoint", "imageServiceEndpoint", "cgroupDriver"),
          "containerd is set up here, at this socket and with systemd's control groups", _TAKE_OUT),
    Owned("kubelet", ("registerWithTaints",), "taints belong to the host", "write hosts.NAME.taints"),
    Owned("kubelet", ("registerNode",), "the node would never be in the cluster", _TAKE_OUT),
    Owned("kubelet", ("podCIDR", "podLogsDir", "runOnce"), "it means something without a cluster, or elsewhere, only",
          _TAKE_OUT),
    Owned("kubelet", _flags("config", "config-dir", "root-dir", "cert-dir"), "the file is written here, and what is "
          "known of a node lies below /var/lib/kubelet", "write its fields beside `flags`"),
    Owned("kubelet", _flags("kubeconfig", "bootstrap-kubeconfig"), _LOCAL_API, _TAKE_OUT),
    Owned("kubelet", _flags("node-ip", "hostname-override"), "a Node is known by the name and the address of its host",
          "set hosts.NAME.address"),
    Owned("kubelet", _flags("node-labels"), "labels belong to the host", "write hosts.NAME.labels"),
    Owned("kubelet", _flags("register-with-taints"), "taints belong to the host", "write hosts.NAME.taints"),
    Owned("kubelet", _flags("image-credential-provider-*"), "a registry of the inventory has `login: true`, and the "
          "kubelet takes one such configuration", "take `login` out of registries", fault=_with_logins),
    Owned("kubelet", _flags("lock-file", "exit-on-lock-contention"), "systemd starts one, and again", _TAKE_OUT),

    Owned("kube-proxy", ("kind", "apiVersion"), "they say what the file is", _TAKE_OUT),
    Owned("kube-proxy", ("hostnameOverride", "flags.hostname-override"), "it is the name of the host", _TAKE_OUT),
    Owned("kube-proxy", ("clusterCIDR",), "it is network.pods", "set network.pods"),
    Owned("kube-proxy", ("clientConnection.kubeconfig",), _LOCAL_API, _TAKE_OUT),
    Owned("kube-proxy", ("mode",), "nftables is what is installed, allowed and looked at", _TAKE_OUT),
    Owned("kube-proxy", ("healthzBindAddress",), "gates and `status` ask it there",
          fault=_proxy_address(ports.KUBE_PROXY_HEALTH, "0.0.0.0")),  # noqa: S104 - what the template has
    Owned("kube-proxy", ("metricsBindAddress",), "the port is kept free for it",
          fault=_proxy_address(ports.KUBE_PROXY_METRICS, "127.0.0.1", "0.0.0.0")),  # noqa: S104 - to be scraped
    Owned("kube-proxy", _flags("config"), "the file is written here", "write its fields beside `flags`"),

    Owned("flannel", ("Network", "SubnetLen", "SubnetMin", "SubnetMax"), "the Pod range is network.pods, of which "
          "every node is given its part", "set network.pods"),
    Owned("flannel", ("EnableIPv4", "EnableIPv6", "IPv6*"), "families and ranges are those of network.pods", _TAKE_OUT),
    Owned("flannel", ("EnableNFTables",), "nftables is what is installed and looked at", _TAKE_OUT),
    Owned("flannel", _flags("kube-subnet-mgr", "kubeconfig-file", "kube-api-url", "net-config-path", "subnet-file",
                            "etcd-*", "kube-annotation-prefix"), "it takes its subnet from its Node, and what follows "
          "is read where it writes it", "write fields of net-conf.json beside `flags`"),
    Owned("flannel", _flags("iface", "iface-*", "public-ip", "public-ipv6"), "nodes reach each other at the addresses "
          "of the inventory", "set hosts.NAME.address"),
    Owned("flannel", _flags("healthz-ip", "healthz-port"), _PROBED, _TAKE_OUT),
    Owned("flannel", _flags("ip-masq"), "Pods would reach nothing outside", fault=_stays_on),
)
