"""In which order etcd's members come up on nodes that get their power at one moment.

A member asks its peers for a hash of their data before it serves anybody. Of several that start in the same second each
waits 7 s for every other, which listens and does not serve yet (seen: 13 s for three). Machines seldom boot in step;
lab nodes do. So a node's etcd starts, once after a boot, when those before it serve: after 20 s a member at the latest.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from provisioner.compile import pki
from provisioner.lab import disks, nodes
from provisioner.lab.instance import Instance, write_file
from provisioner.model.cluster import Cluster
from provisioner.model.ports import ETCD_PEER

INSIDE = "/run/systemd/system/etcd.service.d/lab-boot-order.conf"
ONCE = "/run/lab-boot-order"
DATA = "var/lib/etcd/member"
CERTIFICATE, KEY = pki.ETCD_PEER.path, pki.ETCD_PEER.key_path
LOOKS, ANSWER = 40, 0.3     # each takes half a second at most; it answers in HTTP/1.1 alone

# A member serves when it answers. That its port takes a connection says less: it does so before, and then is silent.
DROP_IN = """[Service]
ExecStartPre=-+/bin/sh -c 'mkdir {once} 2>/dev/null || exit 0; for peer in {peers}; do looks=0; \\
while [ $$looks -lt {looks} ]; do curl -skf --http1.1 --max-time {answer} --cert {certificate} --key {key} \\
-o /dev/null https://$$peer:{port}/version && break; sleep 0.2; looks=$$((looks + 1)); done; done'
"""


def drop_in(peers: Sequence[str]) -> str:
    """Return the lines that let etcd wait, once after a boot, until these addresses serve peers."""
    return DROP_IN.format(once=ONCE, peers=" ".join(peers), looks=LOOKS, answer=ANSWER, port=ETCD_PEER,
                          certificate=CERTIFICATE, key=KEY) if peers else ""


def earlier(cluster: Cluster, host: str, booting: Collection[str]) -> tuple[str, ...]:
    """Return the addresses of the members that boot together with `host` and come before it."""
    members = [member for member in cluster.etcd_hosts if member.name in booting]
    names = [member.name for member in members]
    return tuple(member.address for member in members[:names.index(host)]) if host in names else ()


def bind(instance: Instance, cluster: Cluster, host: str, booting: Collection[str]) -> tuple[str, ...]:
    """Return the option that gives a node its drop-in; none where nobody comes before it, or it never was a member."""
    text = drop_in(earlier(cluster, host, booting))
    spec = nodes.read_spec(instance, host)
    if not text or not spec or not disks.has(instance, spec.layers, DATA):
        return ()
    file = instance.node_dir(host) / "boot-order.conf"
    write_file(file, text)
    return (f"--bind-ro={file}:{INSIDE}",)
