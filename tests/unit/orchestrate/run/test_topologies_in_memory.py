"""Each shape of a cluster in memory: built, nothing to do a second time, changed host by host, and reset to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.errors import RefusedForSafety
from provisioner.model.cluster import Cluster
from provisioner.model.etcd import MemberSeen
from provisioner.orchestrate.run.options import Intent
from tests.fakes.session import World, instant
from tests.topologies import TOPOLOGIES, Topology
from tests.unit.orchestrate.run.test_reset_flow import left

every = pytest.mark.parametrize("topology", TOPOLOGIES, ids=[t.name for t in TOPOLOGIES])


def world_of(topology: Topology, directory: Path, patch: pytest.MonkeyPatch) -> World:
    """Return empty hosts of this shape; the leader of etcd will be its first member."""
    instant(patch)
    world = World.make(directory, patch, **topology.changes)
    facts = topology.facts({name: host.facts for name, host in world.hosts.hosts.items()})
    for name, host in world.hosts.hosts.items():
        host.facts = facts[name]
    return world


def configure(world: World, **config: Any) -> None:
    """Write settings of components into the inventory, as a person does."""
    text = yaml.safe_load(world.inventory.file.read_text())
    text["config"] |= config
    world.inventory.file.write_text(yaml.safe_dump(text, sort_keys=False))
    world.inventory = type(world.inventory)(world.inventory.path, Cluster.model_validate(text), world.inventory.file)


def turns(world: World, phase: str) -> list[tuple[str, ...]]:
    return [entry[2] for entry in world.hosts.log if entry[0] == "apply" and entry[1].startswith(f"{phase}.")]


@every
def test_a_shape_is_built_changed_one_host_at_a_time_and_reset_to_nothing(
        topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(topology, tmp_path, monkeypatch)
    world.perform()
    world.forget()
    assert not world.perform().plan.has_work and world.hosts.log == [], "a second run has nothing to do"

    configure(world, **{"etcd": {"flags": {"snapshot-count": 9000}}, "kube-apiserver": {"flags": {"event-ttl": "2h"}}})
    world.forget()
    world.perform()
    planes = [h.name for h in world.inventory.cluster.control_planes]
    members, servers = turns(world, "etcd"), turns(world, "control-plane")
    assert sorted(members) == sorted((h,) for h in topology.members), "one member at a time"
    assert members[-1] == (topology.members[0],), "the leader comes last"
    assert sorted(servers) == sorted((h,) for h in planes if h not in topology.members), (
        "an API server beside a member goes down with it, any other in a turn of its own")
    drained = [entry[2] for entry in world.hosts.log if entry[0] == "haproxy" and entry[3] == "drain"]
    assert set(drained) == (set(planes) if topology.rolls else set())
    world.forget()
    assert not world.perform().plan.has_work

    world.perform(Intent("reset"))
    for host in world.hosts.hosts:
        assert left(world, host) == [("file", "/etc/haproxy/haproxy.cfg")], "it came with the package"


APART = [t for t in TOPOLOGIES if len(t.members) > 2 and not any(
    "control-plane" in host["roles"] for name, host in t.changes.get("hosts", {}).items() if name in t.members)]


@pytest.mark.parametrize("topology", APART, ids=[t.name for t in APART])
def test_a_fresh_machine_where_a_host_of_etcd_alone_was_takes_its_place_only_when_asked(
        topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Node remembers its machine; the members know it, and that it has none of their data."""
    world = world_of(topology, tmp_path, monkeypatch)
    world.perform()
    world.forget()
    name = topology.members[-1]
    host = world.hosts.hosts[name]
    for things in (host.states, host.extras, host.started, host.owned, host.kept):
        things.clear()
    host.owner = None
    world.hosts.silent.add(name)
    world.hosts.listed[name] = MemberSeen(len(topology.members), name, (
        f"https://{world.inventory.cluster.machine(name).address}:2380",))
    with pytest.raises(RefusedForSafety) as refused:
        world.perform()
    assert refused.value.code == "etcd-member-lost"
    assert f"node replace {name}" in refused.value.hint
    assert world.hosts.log == []
