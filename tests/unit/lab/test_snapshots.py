"""Snapshots of nodes that do not run: what is kept, what comes back, and what a kill in the middle leaves."""

from __future__ import annotations

import fcntl
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.errors import GateFailed, RefusedForSafety, UsageFault
from provisioner.lab import booting, disks, image, nodes, snapshots
from provisioner.lab.image import Image
from provisioner.lab.instance import Instance
from provisioner.lab.nodes import NodeSpec
from provisioner.lab.snapshots import Snapshot
from provisioner.model.inventory import Inventory

FS_IOC_GETFLAGS, FS_TOPDIR_FL = 0x80086601, 0x20000      # linux/fs.h
CLUSTER = """version: 1
cluster: kept
lab: true
kubernetes: "1.36.3"
network: {hosts: [10.77.0.0/24]}
api: {vip: 10.77.0.10}
ssh: {user: admin}
hosts:
  cp1: {address: 10.77.0.11, roles: [etcd, control-plane, load-balancer]}
  w1: {address: 10.77.0.21, roles: [worker]}
"""
HOSTS = {"cp1": "10.77.0.11", "w1": "10.77.0.21"}
NOW = {host: (address, "admin", 22, "debian-12") for host, address in HOSTS.items()}
MADE_BY = {"product": "p", "artifacts": "a"}


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/cluster.yaml").write_text(CLUSTER)
    opened = Inventory.open(tmp_path / "inventory")
    opened.secrets_dir.mkdir(parents=True)
    (opened.secrets_dir / "ca.key").write_text("old CA")
    opened.applied_path.write_text("old")
    return opened


@pytest.fixture
def instance(tmp_path: Path, inventory: Inventory) -> Instance:
    """Two nodes that do not run, each with a file on its disk and one in a bound directory."""
    made = Instance("kept", tmp_path / "state")
    for host, address in HOSTS.items():
        spec = NodeSpec(host, address, "admin", 22, "image", (disks.add_layer(made, host),))
        for inside in nodes.BOUND_DIRECTORIES:
            nodes.paths(made, host).bound(inside).mkdir(parents=True)
        nodes.write_spec(made, spec)
    write(made, "old")
    return made


def write(instance: Instance, text: str) -> None:
    """Do what a running node does: it writes to its newest layer and to its bound directories."""
    for host in HOSTS:
        spec = nodes.read_spec(instance, host)
        assert spec
        (disks.upper(instance, spec.layers[0]) / "data").write_text(text)
        (nodes.paths(instance, host).bound("/var/lib/kubelet") / "state").write_text(text)


def seen(instance: Instance, host: str) -> tuple[str, str]:
    spec = nodes.read_spec(instance, host)
    assert spec
    return (disks.read(instance, spec.layers, "data"),
            (nodes.paths(instance, host).bound("/var/lib/kubelet") / "state").read_text())


def take(instance: Instance, inventory: Inventory, name: str = "healthy") -> Snapshot:
    specs = {host: spec for host in HOSTS if (spec := nodes.read_spec(instance, host))}
    taken = Snapshot(name, snapshots.new_place(name), "2026-11-29T12:00:00Z", MADE_BY, "ssh-ed25519 A", specs)
    snapshots.keep(instance, inventory, taken)
    return taken


def test_nodes_go_on_after_a_snapshot_and_come_back_as_they_were(instance: Instance, inventory: Inventory) -> None:
    taken = take(instance, inventory)
    assert seen(instance, "cp1") == ("old", "old"), "a snapshot changes nothing"
    write(instance, "new")
    (inventory.secrets_dir / "ca.key").write_text("new CA")
    inventory.applied_path.write_text("new")
    assert snapshots.find(instance, "healthy") == taken
    for _ in range(2):        # what a restored node writes is not in the snapshot either
        snapshots.go_back(instance, inventory, taken)
        assert [seen(instance, host) for host in HOSTS] == [("old", "old")] * 2
        assert (inventory.secrets_dir / "ca.key").read_text() == "old CA"
        assert inventory.applied_path.read_text() == "old"
        write(instance, "newer")


def test_ext4_is_told_to_keep_the_layers_apart(instance: Instance) -> None:
    """By a flag of their directory: `chattr +T`."""
    def flags(directory: Path) -> int:
        fd = os.open(directory, os.O_RDONLY)
        try:
            return int.from_bytes(fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)), "little")
        finally:
            os.close(fd)

    layers = disks.layers_dir(instance)
    disks.add_layer(instance, "w9")
    kind = subprocess.run(["stat", "--file-system", "--format=%T", str(layers)], capture_output=True, text=True,
                          check=True)
    if kind.stdout.strip() != "ext2/ext3":
        pytest.skip(f"no ext4: {kind.stdout.strip()}")
    assert flags(layers) & FS_TOPDIR_FL and not flags(layers.parent) & FS_TOPDIR_FL


def test_only_what_a_node_or_a_snapshot_stands_on_is_kept(instance: Instance, inventory: Inventory) -> None:
    taken = take(instance, inventory)
    for _ in range(3):
        snapshots.go_back(instance, inventory, taken)
    snapshots.collect(instance)
    assert len(list(disks.layers_dir(instance).iterdir())) == 4, "each of two hosts: the snapshot's, and its own"
    snapshots.remove(instance, "healthy")
    assert len(list(disks.layers_dir(instance).iterdir())) == 4, "the nodes still stand on them"
    assert [p.name for p in snapshots.home(instance).iterdir()] == []
    assert seen(instance, "w1") == ("old", "old")


def test_a_second_snapshot_of_a_name_takes_the_place_of_the_first(instance: Instance, inventory: Inventory) -> None:
    take(instance, inventory)
    write(instance, "new")
    second = take(instance, inventory)
    write(instance, "newer")
    snapshots.go_back(instance, inventory, snapshots.find(instance, "healthy"))
    assert snapshots.read_all(instance) == (second,)
    assert seen(instance, "cp1") == ("new", "new")


@pytest.mark.parametrize("dies_in", ["copy_tree", "add_layer", "write_file"])
def test_a_snapshot_that_is_killed_is_none_and_the_nodes_are_what_they_were(
    instance: Instance, inventory: Inventory, monkeypatch: pytest.MonkeyPatch, dies_in: str,
) -> None:
    first = take(instance, inventory)
    write(instance, "new")
    place = snapshots if dies_in == "write_file" else disks
    monkeypatch.setattr(place, dies_in, dying(getattr(place, dies_in), alive=0 if dies_in == "write_file" else 1))
    with pytest.raises(KeyboardInterrupt):
        take(instance, inventory)
    monkeypatch.undo()
    assert snapshots.read_all(instance) == (first,)
    assert [seen(instance, host) for host in HOSTS] == [("new", "new")] * 2
    snapshots.collect(instance)
    assert [p.name for p in snapshots.home(instance).iterdir() if p.is_dir()] == [first.place]
    write(instance, "newer")
    snapshots.go_back(instance, inventory, first)
    assert seen(instance, "w1") == ("old", "old")


def dying(real: object, alive: int) -> object:
    """Return a function that works `alive` times and is killed then."""
    left = [alive]

    def act(*arguments: object, **named: object) -> object:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(*arguments, **named)  # type: ignore[operator]

    return act


def test_no_node_boots_until_a_killed_restore_is_finished(
    instance: Instance, inventory: Inventory, monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = take(instance, inventory)
    write(instance, "new")
    monkeypatch.setattr(snapshots, "stand_on", dying(snapshots.stand_on, alive=1))
    with pytest.raises(KeyboardInterrupt):
        snapshots.go_back(instance, inventory, taken)
    monkeypatch.undo()
    assert snapshots.unfinished(instance) == "healthy"
    with pytest.raises(GateFailed, match="was killed") as refused:
        booting.boot(instance, inventory, {}, [], {})
    assert "kubewright lab up" in refused.value.hint
    with pytest.raises(RefusedForSafety):
        snapshots.remove(instance, "healthy")
    snapshots.go_back(instance, inventory, snapshots.find(instance, "healthy"))
    assert snapshots.unfinished(instance) == ""
    assert [seen(instance, host) for host in HOSTS] == [("old", "old")] * 2


def test_an_unknown_snapshot_is_told_with_those_that_there_are(instance: Instance, inventory: Inventory) -> None:
    take(instance, inventory)
    with pytest.raises(UsageFault, match="there is no snapshot other"):
        snapshots.find(instance, "other")
    for name in ("", "../x", "A", "x" * 42, "-"):
        with pytest.raises(UsageFault):
            snapshots.check_name(name)


SPECS = {host: NodeSpec(host, address, "admin", 22, "image", ("x",)) for host, address in HOSTS.items()}
TAKEN = Snapshot("healthy", "healthy.1", "2026-11-29T12:00:00Z", MADE_BY, "key", SPECS)


@pytest.mark.parametrize(("now", "operator", "cached", "said"), [
    (NOW, "key", True, []),
    ({**NOW, "w2": ("10.77.0.22", "admin", 22, "debian-12")}, "key", True, ["w2: not in the snapshot"]),
    ({"cp1": NOW["cp1"]}, "key", True, ["w1: not in the inventory any more"]),
    ({**NOW, "w1": ("10.77.0.29", "admin", 22, "debian-12")}, "key", True,
     ["w1: address, user, SSH port or system changed in the inventory since"]),
    (NOW, "other", True, ["its nodes let in another key than .kubewright/id_ed25519"]),
    (NOW, "key", False, ["cp1: the image under its disk is not in the cache any more",
                         "w1: the image under its disk is not in the cache any more"]),
])
def test_nodes_that_would_not_be_the_inventory_s_are_told(
    monkeypatch: pytest.MonkeyPatch, now: dict[str, nodes.Identity], operator: str, cached: bool, said: list[str],
) -> None:
    monkeypatch.setattr(image, "find", lambda key: Image(key, Path()) if cached else None)
    assert snapshots.differences(TAKEN, now, operator) == said


@pytest.mark.parametrize(("now", "said"), [
    (MADE_BY, []),
    ({**MADE_BY, "product": "q"}, ["its cluster was made by another version of Kubewright"]),
    ({**MADE_BY, "artifacts": "b"}, ["its cluster was made from other artifacts (artifacts.lock)"]),
])
def test_a_cluster_that_up_would_make_otherwise_today_is_told(now: dict[str, str], said: list[str]) -> None:
    assert snapshots.outdated(TAKEN, now) == said


def test_what_made_a_cluster_changes_with_its_artifacts_and_not_with_its_inventory(inventory: Inventory) -> None:
    before = snapshots.made_by(inventory)
    (inventory.path / "cluster.yaml").write_text(CLUSTER + "# a word\n")
    assert snapshots.made_by(inventory) == before
    (inventory.path / "artifacts.lock").write_text("components: {}\n")
    assert {part for part in before if before[part] != snapshots.made_by(inventory)[part]} == {"artifacts"}


def test_a_disk_with_a_layer_missing_is_none(instance: Instance) -> None:
    spec = nodes.read_spec(instance, "cp1")
    assert spec and disks.are_whole(instance, spec.layers)
    assert not disks.are_whole(instance, ()) and not disks.are_whole(instance, (*spec.layers, "gone"))
    assert replace(spec, layers=()) == nodes.spec_from({
        "name": "cp1", "address": "10.77.0.11", "user": "admin", "port": 22, "image": "image"}), "of an older version"


def test_only_what_is_never_written_to_again_is_the_same_file_in_a_copy(tmp_path: Path) -> None:
    for name in ("blobs/a", "blobs/deep/b", "db", "deep/db"):
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_text("x")
        (tmp_path / "from" / name).chmod(0o640)
    (tmp_path / "from/link").symlink_to("db")
    disks.copy_tree(tmp_path / "from", tmp_path / "to", ["blobs"])
    same = {name for name in ("blobs/a", "blobs/deep/b", "db", "deep/db")
            if (tmp_path / "from" / name).samefile(tmp_path / "to" / name)}
    assert same == {"blobs/a", "blobs/deep/b"}
    assert (tmp_path / "to/db").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "to/link").readlink() == Path("db")
    assert sorted(p.name for p in (tmp_path / "to").iterdir()) == ["blobs", "db", "deep", "link"]
