"""The inventories that we ship, compiled with the artifacts.lock beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.artifacts.lockfile import load_lock
from provisioner.compile.cluster import compile_cluster
from provisioner.model.load import load_cluster
from tests.unit.compile.compile_fixture import PUBLIC, SECRETS, facts_of

ROOT = Path(__file__).resolve().parents[3] / "inventories"
LOCKED = sorted(path.parent.name for path in ROOT.glob("*/artifacts.lock"))


@pytest.mark.parametrize("name", LOCKED)
def test_a_shipped_inventory_compiles_with_its_lock(name: str) -> None:
    file = ROOT / name / "cluster.yaml"
    cluster = load_cluster(file.read_text(), str(file))
    desired = compile_cluster(cluster, facts_of(cluster), load_lock(ROOT / name / "artifacts.lock"), SECRETS, PUBLIC)
    assert list(desired.hosts) == list(cluster.hosts)
    assert desired.objects


def test_the_lab_is_among_them() -> None:
    assert "lab" in LOCKED
