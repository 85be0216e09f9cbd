"""The inventories that the lab's tests write of a shape are such as the product takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import shapes
from tests.lab.machines import Lab
from tests.lab.test_systems import MIXED
from tests.topologies import TOPOLOGIES, Topology


@pytest.mark.parametrize("topology", [*TOPOLOGIES, MIXED], ids=lambda topology: topology.name)
def test_each_shape_of_the_lab_is_an_inventory(topology: Topology, tmp_path: Path) -> None:
    lab = Lab(tmp_path, "shape")
    shapes.write(lab, topology.changes)
    shapes.configure(lab, kubelet={"evictionHard": shapes.ROOM})
    assert list(lab.inventory.cluster.hosts) == list(topology.hosts)
