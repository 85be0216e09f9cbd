"""Snapshots of a lab: what a node's disk, its bound directories and the inventory's own files were at one moment.

The record `NAME.json` is written last and replaced as a whole: a snapshot is there entirely or not at all.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from provisioner.errors import RefusedForSafety, UsageFault
from provisioner.lab import disks, image, mounts, nodes, state
from provisioner.lab.instance import Instance, read_json, write_file
from provisioner.lab.nodes import NodeSpec
from provisioner.model.inventory import Inventory
from provisioner.model.paths import data_dir

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
PRODUCT, ARTIFACTS = "product", "artifacts"
SAID = {PRODUCT: "its cluster was made by another version of Kubewright",
        ARTIFACTS: "its cluster was made from other artifacts (artifacts.lock)"}


@dataclass(frozen=True)
class Snapshot:
    """One snapshot: `place` holds copies of what is no disk, `nodes` is what each node stood on."""

    name: str
    place: str
    taken: str
    made_by: Mapping[str, str]
    operator: str
    nodes: Mapping[str, NodeSpec]


def home(instance: Instance) -> Path:
    """Return the directory of the instance's snapshots."""
    return instance.state_dir / "snapshots"


def read_all(instance: Instance) -> tuple[Snapshot, ...]:
    """Return the snapshots that are whole, by name."""
    files = sorted(home(instance).glob("*.json"))
    return tuple(found for file in files if (found := _parsed(read_json(file))))


def _parsed(value: Mapping[str, Any]) -> Snapshot | None:
    try:
        return Snapshot(**{**value, "nodes": {host: nodes.spec_from(row) for host, row in value["nodes"].items()}})
    except (AttributeError, KeyError, TypeError):
        return None


def find(instance: Instance, name: str) -> Snapshot:
    """Return a snapshot; raises UsageFault, with the names that there are, where it is not there."""
    there = {snapshot.name: snapshot for snapshot in read_all(instance)}
    if name not in there:
        known = ", ".join(there) or "none"
        raise UsageFault(f"lab {instance.name}: there is no snapshot {name} (there are: {known})",
                         hint="kubewright lab snapshot", code="lab-no-snapshot")
    return there[name]


def check_name(name: str) -> None:
    """Refuse a name that cannot be a file's."""
    if not NAME.fullmatch(name):
        raise UsageFault(f"{name}: not a snapshot's name: lower-case letters, digits and hyphens, at most 41",
                         hint="kubewright lab snapshot healthy")


def made_by(inventory: Inventory) -> dict[str, str]:
    """Return digests of what decides how a cluster comes out, beside its inventory: our code and the artifacts."""
    lock = inventory.artifacts_lock_path
    artifacts = hashlib.sha256(lock.read_bytes() if lock.exists() else b"")
    return {PRODUCT: product_digest(), ARTIFACTS: artifacts.hexdigest()}


def product_digest() -> str:
    """Return the digest of all files that the tool consists of."""
    package = Path(__file__).resolve().parent.parent
    total = hashlib.sha256()
    for root in (package, data_dir("templates"), data_dir("playbooks")):
        for file in sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            total.update(f"{file.relative_to(root)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def differences(snapshot: Snapshot, now: Mapping[str, nodes.Identity], operator: str) -> list[str]:
    """Return why nodes of this snapshot would not be the inventory's nodes."""
    found = [f"{host}: not in the snapshot" for host in now if host not in snapshot.nodes]
    found += [f"{host}: not in the inventory any more" for host in snapshot.nodes if host not in now]
    found += [f"{host}: address, user, SSH port or system changed in the inventory since"
              for host, wanted in now.items()
              if host in snapshot.nodes and nodes.identity(snapshot.nodes[host]) != wanted]
    found += [f"{host}: the image under its disk is not in the cache any more"
              for host, spec in snapshot.nodes.items() if image.find(spec.image) is None]
    if operator != snapshot.operator:
        found.append(f"its nodes let in another key than {Path('.kubewright') / 'id_ed25519'}")
    return found


def outdated(snapshot: Snapshot, now: Mapping[str, str]) -> list[str]:
    """Return why a cluster of this snapshot is not what `up` would make today."""
    return [words for part, words in SAID.items() if snapshot.made_by.get(part) != now[part]]


def keep(instance: Instance, inventory: Inventory, taken: Snapshot) -> None:
    """Make `taken` a snapshot of nodes that do not run; each node then goes on with a layer more.

    That comes before the record: whenever this is killed, no kept layer is one that a node still writes to.
    """
    place = home(instance) / taken.place
    place.mkdir(parents=True, mode=0o700)
    copy_known(inventory, place / "known")
    for host in taken.nodes:
        _copy_bound(nodes.paths(instance, host), nodes.NodePaths(place / host))
    for spec in taken.nodes.values():
        nodes.write_spec(instance, replace(spec, layers=(disks.add_layer(instance, spec.name), *spec.layers)))
    write_file(home(instance) / f"{taken.name}.json", json.dumps(asdict(taken)), 0o600)


def new_place(name: str) -> str:
    """Return a directory name for a snapshot's copies that no other ever had."""
    return f"{name}.{secrets.token_hex(4)}"


def stand_on(instance: Instance, snapshot: Snapshot, host: str) -> None:
    """Replace a node that does not run by what it was in the snapshot."""
    node, spec = nodes.paths(instance, host), snapshot.nodes[host]
    mounts.remove_tree(node.directory)
    node.root.mkdir(parents=True)
    node.root.chmod(0o755)
    _copy_bound(nodes.NodePaths(home(instance) / snapshot.place / host), node)
    nodes.write_spec(instance, replace(spec, layers=(disks.add_layer(instance, host), *spec.layers)))


def _copy_bound(source: nodes.NodePaths, target: nodes.NodePaths) -> None:
    for inside, shared in nodes.BOUND_DIRECTORIES.items():
        disks.copy_tree(source.bound(inside), target.bound(inside), shared)


def _unfinished_file(instance: Instance) -> Path:
    return home(instance) / "restoring"


def unfinished(instance: Instance) -> str:
    """Return the snapshot to which a restore that was killed was going back, or an empty string."""
    file = _unfinished_file(instance)
    return file.read_text().strip() if file.is_file() else ""


def forget_unfinished(instance: Instance) -> None:
    """No restore is to be finished any more: it is done, or the nodes are replaced by others."""
    _unfinished_file(instance).unlink(missing_ok=True)


def go_back(instance: Instance, inventory: Inventory, snapshot: Snapshot) -> None:
    """Make all nodes, and what the inventory knows of their cluster, what they were in the snapshot; none runs then.

    Members of one cluster from two moments would destroy its data, so the aim is on record first: whatever is killed
    here is finished before any node boots. What they were until now is left for `collect`, which can wait for that.
    """
    write_file(_unfinished_file(instance), snapshot.name)
    state.end_nodes(instance, state.everything(instance))
    put_known_back(instance, snapshot, inventory)
    state.each(snapshot.nodes, lambda host: stand_on(instance, snapshot, host), "restoring its disk")
    forget_unfinished(instance)


def remove(instance: Instance, name: str) -> None:
    """Forget a snapshot; what other snapshots or nodes stand on stays."""
    if unfinished(instance) == name:
        raise RefusedForSafety(f"lab {instance.name}: removing the snapshot {name}: the nodes are half on it: "
                               "`lab restore` was killed", hint="kubewright lab up    # finishes that",
                               code="lab-restoring")
    (home(instance) / f"{name}.json").unlink(missing_ok=True)
    collect(instance)


def collect(instance: Instance) -> None:
    """Delete the layers and copies that nothing needs any more, also those of commands that were killed."""
    kept = read_all(instance)
    standing = [spec for name in instance.node_names() if (spec := nodes.read_spec(instance, name))]
    disks.remove_others(instance, (layer for spec in (*standing, *_specs(kept)) for layer in spec.layers))
    places = {snapshot.place for snapshot in kept}
    for directory in home(instance).iterdir() if home(instance).is_dir() else ():
        if directory.is_dir() and directory.name not in places:
            mounts.remove_tree(directory)


def remove_all(instance: Instance) -> None:
    """Forget every snapshot: their nodes let in a key that is not ours."""
    mounts.remove_tree(home(instance))
    collect(instance)


def _specs(kept: Iterable[Snapshot]) -> Iterator[NodeSpec]:
    for snapshot in kept:
        yield from snapshot.nodes.values()


def copy_known(inventory: Inventory, target: Path) -> None:
    """Copy what the inventory's own directory knows of its cluster: the secrets, and what was last applied."""
    target.mkdir(mode=0o700)
    if inventory.secrets_dir.is_dir():
        disks.copy_tree(inventory.secrets_dir, target / "secrets")
    if inventory.applied_path.is_file():
        shutil.copy2(inventory.applied_path, target / "applied")


def put_known_back(instance: Instance, snapshot: Snapshot, inventory: Inventory) -> None:
    """Give the inventory's directory the secrets of the cluster that comes back, and what was last applied to it."""
    known = home(instance) / snapshot.place / "known"
    mounts.remove_tree(inventory.secrets_dir)
    if (known / "secrets").is_dir():
        disks.copy_tree(known / "secrets", inventory.secrets_dir)
    if (known / "applied").is_file():
        shutil.copy2(known / "applied", inventory.applied_path)
    else:
        inventory.applied_path.unlink(missing_ok=True)
