"""Which of a lab's nodes start first when they are put back, and what waits on which."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.model.cluster import Cluster
from provisioner.model.components import units_on
from provisioner.model.families import DEFAULT
from provisioner.model.inventory import Inventory
from tests.lab import waves

LAB = Inventory.open(Path(__file__).resolve().parents[3] / "inventories/lab").cluster
SINGLE = LAB.model_copy(update={"hosts": {name: LAB.hosts[name] for name in ("cp1", "w2")}})


@pytest.mark.parametrize(("cluster", "bear", "first", "others", "early", "last"), [
    (LAB, ("cp1", "w2"), "cp1", (), ("cp1", "w1", "w2"), ("cp2", "cp3")),
    (LAB, ("w1", "w2"), "cp1", (), ("cp1", "w1", "w2"), ("cp2", "cp3")),
    (LAB, ("cp2", "cp3"), "cp2", ("cp3",), ("cp2", "cp3", "w1", "w2"), ("cp1",)),
    (LAB, ("cp1", "cp2", "cp3"), "cp1", ("cp2", "cp3"), ("cp1", "cp2", "cp3", "w1", "w2"), ()),
    (SINGLE, (), "cp1", (), ("cp1", "w2"), ()),
])
def test_one_control_plane_begins_and_those_without_a_pod_come_last(
        cluster: Cluster, bear: tuple[str, ...], first: str, others: tuple[str, ...], early: tuple[str, ...],
        last: tuple[str, ...]) -> None:
    found = waves.order(cluster, bear)
    assert found.first.name == first
    assert [tuple(h.name for h in hosts) for hosts in (found.others, found.early, found.last)] == [others, early, last]


def test_all_of_kubernetes_is_held_but_the_first_api_server_and_the_runtimes_that_start_early() -> None:
    found = waves.order(LAB, ("cp1", "w2"))
    every = waves.API | waves.RUNTIME | waves.KUBELET | waves.NETWORK | waves.CONTROLLERS
    there = set(units_on(LAB, found.first, DEFAULT))
    left = there - {unit for unit in waves.units(LAB, [found.first], every)["cp1"]}
    assert left == {"etcd.service", "haproxy.service", "keepalived.service"}, "new services have their place too"
    assert set(waves.units(LAB, [found.first], waves.RUNTIME)["cp1"]) == {
        "containerd.service", "kubewright-images.service"}


@pytest.mark.parametrize(("line", "listens"), [
    ("   0: 00000000000000000000000000000000:280A 00000000000000000000000000000000:0000 0A 00000000:00000000", True),
    ("   0: 00000000:280A 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532", True),
    ("   1: 0000000000000000FFFF00000301F40A:280A 0000000000000000FFFF00000101F40A:9002 06 00000000:00000000", False),
    ("   2: 0301F40A:9002 0101F40A:280A 01 00000000:00000000", False),
])
def test_that_metrics_server_listens_is_read_from_the_kernel_s_table(line: str, listens: bool) -> None:
    assert (waves.LISTENS.search(line) is not None) is listens
