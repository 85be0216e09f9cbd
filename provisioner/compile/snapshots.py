"""Snapshots that each etcd host takes of its own member by a timer, where the inventory asks for them."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.compile import pki
from provisioner.compile.context import HostContext, config_of
from provisioner.compile.etcd import ETCDCTL, ca_fingerprint
from provisioner.compile.parts import BIN_DIR, INPUTS_DIR, UNIT_DIR, rendered
from provisioner.compile.render import verbatim
from provisioner.model.desired import File, Item, Unit

TIMER = "kubewright-etcd-snapshot.timer"
SERVICE = "kubewright-etcd-snapshot.service"
PROGRAM = "/opt/kubewright/bin/etcd-snapshot"
PROOF = "/opt/kubewright/bin/etcd-prove"
SETTINGS = "/etc/kubewright/etcd/snapshots.json"
PLACE = "/var/lib/etcd-snapshots"
SUMMARY = f"{PLACE}/summary.json"       # what is told of those that are kept: written whole after every proof
KEEP = 12               # three days of one every six hours


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the timer and what it starts, on an etcd host whose `config.etcd.snapshotEvery` says how often."""
    config = config_of(ctx.cluster, ctx.host, "etcd") if ctx.is_etcd else {}
    every = config.get("snapshotEvery")
    if not every:
        return
    client = [f"{BIN_DIR}/{ETCDCTL[0]}", *ETCDCTL[1:], "--command-timeout=600s"]
    yield rendered(PROGRAM, "etcd", component="etcd", mode=0o755, etcdctl=" ".join(client),
                   etcdutl=f"{BIN_DIR}/etcdutl", place=PLACE, keep=max(1, int(config.get("snapshotKeep", KEEP))))
    yield File(path=PROOF, phase="etcd", component="etcd", mode=0o755, content=verbatim(PROOF))
    yield rendered(SETTINGS, "etcd", component="etcd", etcdctl=client, etcdutl=f"{BIN_DIR}/etcdutl",
                   etcd=f"{BIN_DIR}/etcd", place=PLACE, encryption=pki.ENCRYPTION_CONFIG, member=ctx.name,
                   cluster=ctx.cluster.cluster, etcd_ca=ca_fingerprint(ctx.public("etcd-ca.crt")),
                   kubernetes=ctx.cluster.kubernetes)
    for unit in (SERVICE, TIMER):
        yield rendered(f"{UNIT_DIR}/{unit}", "etcd", component="etcd", mode=0o600, program=PROGRAM, proof=PROOF,
                       settings=SETTINGS, every=every, place=PLACE, cluster=ctx.cluster.cluster)
    # A timer reads nothing of ours when it starts, so it is never due.
    yield File(path=f"{INPUTS_DIR}/{TIMER}", phase="etcd", component="etcd")
    yield Unit(path=TIMER, phase="etcd", component="etcd")
