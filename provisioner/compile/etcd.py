"""An etcd member: its flags, and the `initial-*` settings that are read once in its life."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from provisioner.compile import pki
from provisioner.compile.context import HostContext
from provisioner.compile.parts import BIN_DIR, binary, directories, rendered, service
from provisioner.compile.render import command_line, variables_unset
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Directory, EtcdMember, Item
from provisioner.model.ports import ETCD_CLIENT, ETCD_METRICS

DATA_DIR = "/var/lib/etcd"
INITIAL_ENV = "/etc/kubewright/etcd/initial.env"
# Where the bootstrap step says `new`. In /run: after a boot it cannot start a second cluster beside the first.
BOOTSTRAP_ENV = "/run/kubewright/etcd-bootstrap.env"
# What a member's host keeps of its cluster having been up: no member of it is ever founded anew.
BOOTSTRAPPED = "/var/lib/kubewright/etcd/bootstrapped"

# Which members a run is about to add, on every etcd host: written before the first is added, gone when all vote.
JOINING = "/var/lib/kubewright/etcd/joining"

# Eight GiB, the most that etcd recommends: at the default 2 GiB a busy cluster turns read-only.
QUOTA = 8 * 1024**3
_QUOTA_FLAG = "quota-backend-bytes"
_ETCDS_QUOTA = 2 * 1024**3      # etcd's own, where the inventory takes the flag away or says 0

UNIT = pki.ETCD_UNIT
INPUTS = (pki.ETCD_CA, pki.ETCD_SERVER.path, pki.ETCD_PEER.path, f"{BIN_DIR}/etcd")
# The client on a member's own host, as root; a host's own program goes before it by its whole path.
ETCDCTL = ("etcdctl", f"--endpoints=https://127.0.0.1:{ETCD_CLIENT}", f"--cacert={pki.ETCD_CA}",
           f"--cert={pki.ETCD_HEALTH.path}", f"--key={pki.ETCD_HEALTH.key_path}")
# What a variable could still set, and must not.
FLAGS_NOT_GIVEN = ("config-file", "force-new-cluster", "discovery", "discovery-srv", "wal-dir", "auto-tls",
                   "peer-auto-tls")


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the member of an etcd host."""
    if not ctx.is_etcd:
        return
    for name in ("etcd", "etcdctl", "etcdutl"):
        yield from binary(ctx, name, "etcd")
    yield from directories(["/etc/kubewright/etcd"], "etcd")
    yield Directory(path=DATA_DIR, phase="etcd", component="etcd", mode=0o700, owner="etcd", group="etcd")
    yield rendered(INITIAL_ENV, "etcd", component="etcd", members=_members(ctx), me=_member(ctx),
                   token=cluster_token(ctx.cluster.cluster, ctx.public("etcd-ca.crt")))
    given = ctx.flags("etcd", flags(ctx))
    yield from service(
        UNIT, "etcd", INPUTS, component="etcd", credentials=pki.credentials(UNIT), late=ctx.system.late_credentials,
        cluster=ctx.cluster.cluster,
        initial_env=INITIAL_ENV, bootstrap_env=BOOTSTRAP_ENV, data_dir=DATA_DIR,
        unset=variables_unset("ETCD", [*given, *FLAGS_NOT_GIVEN]), command=command_line(f"{BIN_DIR}/etcd", given))


def flags(ctx: HostContext) -> dict[str, object]:
    """Return etcd's flags; on the command line, since an audit reads them there."""
    me = _member(ctx)
    return {
        "name": ctx.name,
        "data-dir": DATA_DIR,
        "listen-client-urls": [me.client_url, f"https://127.0.0.1:{ETCD_CLIENT}"],
        "advertise-client-urls": me.client_url,
        "listen-peer-urls": me.peer_url,
        "listen-metrics-urls": f"http://127.0.0.1:{ETCD_METRICS}",
        "client-cert-auth": True,
        "trusted-ca-file": pki.ETCD_CA,
        "cert-file": pki.ETCD_SERVER.read_at,
        "key-file": pki.ETCD_SERVER.key_read_at,
        "peer-client-cert-auth": True,
        # The name that members' certificates have in common: those of clients, which the same CA signs, do not join.
        "peer-cert-allowed-hostname": pki.MEMBER_NAME,
        "peer-trusted-ca-file": pki.ETCD_CA,
        "peer-cert-file": pki.ETCD_PEER.read_at,
        "peer-key-file": pki.ETCD_PEER.key_read_at,
        "tls-min-version": "TLS1.3",
        # A dead leader is replaced in 1.3 s; larger values cost writes that long and buy nothing on a LAN.
        "heartbeat-interval": 100,
        "election-timeout": 1000,
        _QUOTA_FLAG: QUOTA,
        "watch-progress-notify-interval": "5s",
        "feature-gates": "InitialCorruptCheck=true,CompactHashCheck=true",
    }


def quota_of(cluster: Cluster, host: str) -> int:
    """Return how many bytes `host`'s member may use by the inventory before it refuses writes; 0 where it may all."""
    of_all, own = (config.get("etcd", {}).get("flags") or {} for config in (cluster.config, cluster.hosts[host].config))
    said = str({_QUOTA_FLAG: QUOTA, **of_all, **own}[_QUOTA_FLAG])
    if said.startswith("-"):
        return 0
    return (int(said) if said.isdigit() else 0) or _ETCDS_QUOTA


def cluster_token(cluster: str, etcd_ca: str) -> str:
    """Return a token that no other cluster has: its name and the fingerprint of its etcd CA."""
    return f"{cluster}-{ca_fingerprint(etcd_ca)[:16]}"


def ca_fingerprint(etcd_ca: str) -> str:
    """Return the SHA-256 of the first certificate in a PEM text."""
    body = "".join(line for line in etcd_ca.split("-----BEGIN CERTIFICATE-----")[1].splitlines()
                   if line and not line.startswith("-----"))
    return hashlib.sha256(base64.b64decode(body)).hexdigest()


def _member(ctx: HostContext) -> EtcdMember:
    return EtcdMember(ctx.name, ctx.address)


def _members(ctx: HostContext) -> list[EtcdMember]:
    return [EtcdMember(host.name, host.address) for host in ctx.site.etcd_hosts]
