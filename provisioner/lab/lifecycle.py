"""up, down, reset, status: what a person does with a lab. Every verb may be killed anywhere and run again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from provisioner.errors import RefusedForSafety, UsageFault
from provisioner.lab import (
    booting,
    disks,
    faults,
    filters,
    image,
    keys,
    leftovers,
    mounts,
    network,
    nodes,
    processes,
    repository,
    requirements,
    snapshots,
    state,
)
from provisioner.lab.image import Image
from provisioner.lab.instance import Instance, lab_network, locked, require_lab, write_file
from provisioner.lab.nodes import NodeSpec
from provisioner.model import families
from provisioner.model.endpoint import known_hosts_name
from provisioner.model.inventory import Inventory

Say = Callable[[str], None]
Images = Mapping[str, Image]        # of each system that a node has


@dataclass(frozen=True)
class UpResult:
    """What `up` did, by node: created, booted (its disk was there), or left alone."""

    created: tuple[str, ...]
    booted: tuple[str, ...]
    left: tuple[str, ...]
    unlisted: tuple[str, ...]      # nodes that run and are not in the inventory
    seconds: float


@dataclass(frozen=True)
class NodeStatus:
    """One line of `status`."""

    name: str
    address: str
    state: str                      # running, stopped, absent, unlisted (runs and is not in the inventory)
    ssh: bool
    pid: int | None
    memory_mib: int | None
    faults: tuple[str, ...] = ()    # what was done to it on purpose: `lab fault`


def instance_of(inventory: Inventory) -> Instance:
    """Return the lab instance of an inventory: it bears the cluster's name."""
    require_lab(inventory.cluster, inventory.file)
    return Instance(inventory.cluster.cluster)


@contextmanager
def claimed(inventory: Inventory, say: Say) -> Iterator[tuple[Instance, Images]]:
    """Hold the lock of the inventory's instance, claimed for it, with all on this machine that its nodes boot from."""
    instance = instance_of(inventory)
    systems = families.in_use(nodes.system_of(host) for host in inventory.cluster.machines)
    requirements.require(image_is_cached=all(image.find(image.current_key(row)) is not None for row in systems))
    built = {}
    for row in systems:
        began = time.monotonic()
        built[row.key], was_built = image.ensure(say, row)
        if was_built:
            say(f"image {built[row.key].key} built in {time.monotonic() - began:.0f} s")
    with locked(instance):
        claim(instance, inventory, say)
        yield instance, built


def up(inventory: Inventory, say: Say) -> UpResult:
    """Make every node of the inventory run and answer SSH; those that do are left alone."""
    began = time.monotonic()
    with claimed(inventory, say) as (instance, built):
        return bring_up(instance, inventory, built, say, began)


def reset(inventory: Inventory, say: Say, hosts: Collection[str] = ()) -> UpResult:
    """Replace the nodes (all, or those named) by fresh empty ones; image and network stay."""
    began = time.monotonic()
    require_lab(inventory.cluster, inventory.file)
    unknown = [name for name in hosts if name not in inventory.cluster.hosts]
    if unknown:
        raise UsageFault(f"{', '.join(unknown)}: no such host in {inventory.file}", hint="kubewright lab status")
    with claimed(inventory, say) as (instance, built):
        names = tuple(hosts) or state.everything(instance)
        state.end_nodes(instance, names)
        for name in names:
            mounts.remove_tree(instance.node_dir(name))
        snapshots.collect(instance)
        filters.remove(instance, *names)
        if not hosts:
            snapshots.forget_unfinished(instance)
            inventory.applied_path.unlink(missing_ok=True)      # that cluster is gone: nothing is held against it
        return bring_up(instance, inventory, built, say, began)


def down(inventory: Inventory, say: Say) -> None:
    """Leave nothing of the instance on this machine; the image stays cached, the inventory keeps its key."""
    instance = instance_of(inventory)
    requirements.require_root()
    began = time.monotonic()
    with locked(instance):
        refuse_foreign_instance(instance, inventory)
        names = state.remove_all(instance)
        inventory.applied_path.unlink(missing_ok=True)
    keys.unpin(inventory.known_hosts_path, [n for host in inventory.cluster.hosts for n in _pin_names(inventory, host)])
    what = f"{len(names)} nodes ({', '.join(names)})" if names else "nothing was up"
    say(f"lab {instance.name} is down: {what}, {time.monotonic() - began:.1f} s")


def status(inventory: Inventory) -> tuple[NodeStatus, ...]:
    """Ask the machine, not a file, what runs and answers."""
    instance = instance_of(inventory)
    requirements.require_root()
    found = faults.in_force(instance, tuple(inventory.cluster.hosts))
    rows = []
    for host in inventory.cluster.machines:
        spec = nodes.read_spec(instance, host.name)
        row = _row(instance, host.name, host.address, inventory.cluster.ssh_of(host.name).port, spec is not None)
        rows.append(replace(row, faults=tuple(str(f) for f in found if f.host == host.name and f.kind != "killed")))
    unlisted = [name for name in state.everything(instance) if name not in inventory.cluster.hosts]
    rows += [NodeStatus(name, "", "unlisted", False, None, nodes.memory_mib(instance, name)) for name in unlisted]
    return tuple(rows)


def _row(instance: Instance, name: str, address: str, port: int, exists: bool) -> NodeStatus:
    if not nodes.is_running(instance, name):
        return NodeStatus(name, address, "stopped" if exists else "absent", False, None, None)
    record = nodes.record(instance, name)
    banner = ""
    if network.exists(instance):        # a node whose network was taken away runs, and nobody reaches it
        with network.inside(instance.name):
            banner = network.ssh_banner(address, port, 3.0)
    return NodeStatus(name, address, "running", banner.startswith("SSH-"), record.pid if record else None,
                      nodes.memory_mib(instance, name))


def refuse_foreign_instance(instance: Instance, inventory: Inventory) -> None:
    """Refuse to touch nodes that another inventory directory of the same cluster name is running."""
    owner = instance.owner()
    if not owner or owner == str(inventory.path) or not Path(owner).is_dir():
        return
    running = sorted(leftovers.alive(state.look(instance)))
    if running:
        raise RefusedForSafety(
            f"lab {instance.name}: it belongs to another inventory, {owner}, and {', '.join(running)} of it run",
            hint=f"kubewright -i {owner} lab down    # or give this inventory another `cluster:` name",
            code="lab-other-owner")


def claim(instance: Instance, inventory: Inventory, say: Say) -> None:
    """Take the instance for this inventory; what a dead owner left is removed, for its keys are not ours."""
    refuse_foreign_instance(instance, inventory)
    owner = instance.owner()
    if owner and owner != str(inventory.path):
        say(f"removing what is left of the lab {instance.name} of {owner}")
        state.end_nodes(instance, state.everything(instance))
        for name in instance.node_names():
            mounts.remove_tree(instance.node_dir(name))
        snapshots.remove_all(instance)
    write_file(instance.state_dir / "instance.json", json.dumps({"inventory": str(inventory.path)}))


def bring_up(instance: Instance, inventory: Inventory, built: Images, say: Say, began: float) -> UpResult:
    """Network, repository, then every node that is missing; done when each lets us become root over SSH."""
    place = lab_network(inventory.cluster)
    if not network.is_complete(instance, place):
        state.end_nodes(instance, leftovers.alive(state.look(instance)))   # they hang on a network that is gone
    if name := snapshots.unfinished(instance):
        say(f"finishing `lab restore {name}`, which was killed")
        snapshots.go_back(instance, inventory, snapshots.find(instance, name))
        snapshots.collect(instance)
    found = state.clean(instance)
    if found:
        say(f"cleaned up after nodes that had ended: {leftovers.describe(found)}")
    network.ensure(instance, place)
    repository.start(instance, place, {key: one.repository for key, one in built.items()})
    operator = keys.operator_key(inventory.state_dir / "id_ed25519")
    images = {h.name: built[nodes.system_of(h)] for h in inventory.cluster.machines}
    specs = {h.name: nodes.spec_of(inventory.cluster, h, images[h.name]) for h in inventory.cluster.machines}
    left = tuple(name for name in specs if nodes.is_running(instance, name))
    _refuse_changed(instance, {name: specs[name] for name in left}, operator)
    for fault in faults.in_force(instance, left):
        say(f"{fault.host}: {fault} (`kubewright lab fault undo` ends it)")
    missing = tuple(name for name in specs if name not in left)
    kept = tuple(name for name in missing if _can_boot_again(instance, specs[name], operator))
    created = tuple(name for name in missing if name not in kept)
    state.each(created, lambda name: nodes.create(instance, specs[name], images[name], place, operator), "creating")
    booting.boot(instance, inventory, specs, missing, images)
    unlisted = tuple(name for name in instance.node_names() if name not in specs)
    result = UpResult(created, kept, left, unlisted, time.monotonic() - began)
    _tell(result, say)
    return result


def _tell(result: UpResult, say: Say) -> None:
    for names, what in ((result.created, "created and booted"), (result.booted, "booted from their disks"),
                        (result.left, "were running, left alone"),
                        (result.unlisted, "not in the inventory, not touched (`lab down` removes them)")):
        if names:
            say(f"{', '.join(names)}: {what}")
    count = len(result.created) + len(result.booted) + len(result.left)
    say(f"{count} nodes answer SSH, {result.seconds:.1f} s")


def _refuse_changed(instance: Instance, running: dict[str, NodeSpec], operator: str) -> None:
    """Refuse when a running node is not what the inventory says now: only a fresh one can be."""
    faults = []
    for name, spec in running.items():
        made = nodes.read_spec(instance, name)
        if made is None or nodes.identity(made) != nodes.identity(spec):
            faults.append(f"{name}: address, user, SSH port or system changed in the inventory since it was created")
        elif nodes.operator_of(instance, made) != operator:
            faults.append(f"{name}: it lets in another key than {Path('.kubewright') / 'id_ed25519'}")
    if faults:
        raise RefusedForSafety(f"lab {instance.name}: running nodes are not what the inventory says", details=faults,
                               hint="kubewright lab reset    # fresh, empty nodes", code="lab-changed")


def _can_boot_again(instance: Instance, spec: NodeSpec, operator: str) -> bool:
    """Say whether a stopped node's disk is whole and still what the inventory says; else it is made anew."""
    made = nodes.read_spec(instance, spec.name)
    return (made is not None and nodes.identity(made) == nodes.identity(spec) and image.find(made.image) is not None
            and disks.are_whole(instance, made.layers) and nodes.operator_of(instance, made) == operator)


def _pin_names(inventory: Inventory, host: str) -> list[str]:
    port = inventory.cluster.ssh_of(host).port
    return [known_hosts_name(place, port) for place in booting.login_places(inventory, host)]


def access(inventory: Inventory, host: str, command: Collection[str]) -> list[str]:
    """Return the call that reaches a node by SSH; run it inside the lab's network."""
    instance = instance_of(inventory)
    if host not in inventory.cluster.hosts:
        raise UsageFault(f"{host}: no such host in {inventory.file}", hint="kubewright lab status")
    spec = nodes.read_spec(instance, host)
    if spec is None or not processes.is_alive(nodes.record(instance, host)):
        raise nodes.not_running(host)
    return nodes.ssh_command(inventory.known_hosts_path, inventory.state_dir / "id_ed25519", spec, tuple(command))
