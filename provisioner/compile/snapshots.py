"""Snapshots that each etcd host takes of its own member by a timer, where the inventory asks for them."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.compile.context import HostContext, config_of
from provisioner.compile.etcd import ETCDCTL
from provisioner.compile.parts import BIN_DIR, INPUTS_DIR, UNIT_DIR, rendered
from provisioner.model.desired import File, Item, Unit

TIMER = "kubewright-etcd-snapshot.timer"
SERVICE = "kubewright-etcd-snapshot.service"
PROGRAM = "/opt/kubewright/bin/etcd-snapshot"
PLACE = "/var/lib/etcd-snapshots"
KEEP = 12               # three days of one every six hours


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the timer and what it starts, on an etcd host whose `config.etcd.snapshotEvery` says how often."""
    config = config_of(ctx.cluster, ctx.host, "etcd") if ctx.is_etcd else {}
    every = config.get("snapshotEvery")
    if not every:
        return
    etcdctl = f"{BIN_DIR}/{' '.join(ETCDCTL)} --command-timeout=600s"
    yield rendered(PROGRAM, "etcd", component="etcd", mode=0o755, etcdctl=etcdctl, etcdutl=f"{BIN_DIR}/etcdutl",
                   place=PLACE, keep=max(1, int(config.get("snapshotKeep", KEEP))))
    for unit in (SERVICE, TIMER):
        yield rendered(f"{UNIT_DIR}/{unit}", "etcd", component="etcd", mode=0o600, program=PROGRAM, every=every,
                       place=PLACE, cluster=ctx.cluster.cluster)
    # A timer reads nothing of ours when it starts, so it is never due.
    yield File(path=f"{INPUTS_DIR}/{TIMER}", phase="etcd", component="etcd")
    yield Unit(path=TIMER, phase="etcd", component="etcd")
