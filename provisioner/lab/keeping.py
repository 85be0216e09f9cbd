"""snapshot and restore: a cluster is built once, and stands again in seconds however it was broken meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

from provisioner.errors import GateFailed, RefusedForSafety
from provisioner.lab import disks, filters, keys, lifecycle, nodes, requirements, snapshots, state
from provisioner.lab.instance import Instance, locked
from provisioner.lab.nodes import NodeSpec
from provisioner.lab.snapshots import Snapshot
from provisioner.model.inventory import Inventory

Say = Callable[[str], None]


def snapshot(inventory: Inventory, name: str, say: Say) -> Snapshot:
    """Keep what all nodes are now under `name`, in place of an older one of that name.

    Running nodes lose their power for it, at one moment, and are booted again.
    """
    snapshots.check_name(name)
    began = time.monotonic()
    with lifecycle.claimed(inventory, say) as (instance, built):
        found = _whole_nodes(instance, inventory)
        ran = [host for host in found if nodes.is_running(instance, host)]
        state.end_nodes(instance, found)
        taken = Snapshot(name, snapshots.new_place(name), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                         snapshots.made_by(inventory), _operator(inventory), found)
        snapshots.keep(instance, inventory, taken)
        snapshots.collect(instance)
        say(f"snapshot {name}: {', '.join(found)}, {time.monotonic() - began:.1f} s")
        if ran:
            lifecycle.bring_up(instance, inventory, built, say, began)
    return taken


def restore(inventory: Inventory, name: str, say: Say, *, old: bool = False) -> lifecycle.UpResult:
    """Replace all nodes by what they were in a snapshot, and boot them.

    Raises RefusedForSafety, before anything is touched, where they would not be the inventory's nodes, or, unless
    `old`, where their cluster is not what this version would make of these artifacts.
    """
    began = time.monotonic()
    with lifecycle.claimed(inventory, say) as (instance, built):
        kept = snapshots.find(instance, name)
        _refuse_stale(instance, inventory, kept, old=old)
        snapshots.go_back(instance, inventory, kept)
        filters.remove(instance, *kept.nodes)
        result = lifecycle.bring_up(instance, inventory, built, say, began)
        snapshots.collect(instance)
        return result


def remove(inventory: Inventory, name: str, say: Say) -> None:
    """Delete a snapshot; nodes that were restored from it go on."""
    requirements.require_root()
    instance = lifecycle.instance_of(inventory)
    with locked(instance):
        lifecycle.refuse_foreign_instance(instance, inventory)
        snapshots.find(instance, name)
        snapshots.remove(instance, name)
        say(f"snapshot {name} is removed")


def listed(inventory: Inventory) -> tuple[tuple[Snapshot, tuple[str, ...]], ...]:
    """Return every snapshot, each with why it would be refused."""
    requirements.require_root()
    instance = lifecycle.instance_of(inventory)
    return tuple((kept, tuple(_faults(inventory, kept) + snapshots.outdated(kept, snapshots.made_by(inventory))))
                 for kept in snapshots.read_all(instance))


def _operator(inventory: Inventory) -> str:
    return keys.operator_key(inventory.state_dir / "id_ed25519")


def _whole_nodes(instance: Instance, inventory: Inventory) -> dict[str, NodeSpec]:
    """Return what the inventory's nodes were created from; raises GateFailed where one has no whole disk."""
    if name := snapshots.unfinished(instance):
        raise GateFailed(f"lab {instance.name}: taking a snapshot: `lab restore {name}` was killed and is not done",
                         hint="kubewright lab up    # finishes that", code="lab-restoring")
    found = {host.name: nodes.read_spec(instance, host.name) for host in inventory.cluster.machines}
    absent = [host for host, spec in found.items() if spec is None or not disks.are_whole(instance, spec.layers)]
    if absent:
        raise GateFailed(f"lab {instance.name}: taking a snapshot: no disk yet: {', '.join(absent)}",
                         hint="kubewright lab up", code="lab-not-up")
    return {host: spec for host, spec in found.items() if spec is not None}


def _faults(inventory: Inventory, kept: Snapshot) -> list[str]:
    now = {host.name: nodes.identity_of(inventory.cluster, host) for host in inventory.cluster.machines}
    return snapshots.differences(kept, now, _operator(inventory))


def _refuse_stale(instance: Instance, inventory: Inventory, kept: Snapshot, *, old: bool) -> None:
    unlike = _faults(inventory, kept)
    outdated = [] if old else snapshots.outdated(kept, snapshots.made_by(inventory))
    if not unlike and not outdated:
        return
    again = f"kubewright lab up && kubewright up --yes && kubewright lab snapshot {kept.name}    # a new one"
    hint = again if unlike else f"kubewright lab restore --old {kept.name}    # `plan` tells what is different"
    raise RefusedForSafety(f"lab {instance.name}: restoring {kept.name}, taken {kept.taken}: it is of another state; "
                           "no node was touched", details=[*unlike, *outdated], hint=hint, code="lab-snapshot-stale")
