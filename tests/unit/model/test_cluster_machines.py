"""The machines of a cluster are made once, and that shows nowhere."""

from __future__ import annotations

import pickle

import yaml

from provisioner.model.cluster import Cluster
from tests.unit.compile.compile_fixture import LAB


def lab() -> Cluster:
    return Cluster.model_validate(yaml.safe_load(LAB))


def test_the_machines_are_made_once() -> None:
    cluster = lab()
    assert cluster.machines is cluster.machines and cluster.workers is cluster.workers
    assert [h.name for h in cluster.workers] == ["w1", "w2"]
    assert [h.name for h in cluster.control_planes] == ["cp1", "cp2", "cp3"]


def test_a_copy_with_other_hosts_has_its_own() -> None:
    cluster = lab()
    assert len(cluster.machines) == 5
    copy = cluster.model_copy(update={"hosts": {n: s for n, s in cluster.hosts.items() if n != "w2"}})
    assert [h.name for h in copy.machines] == ["cp1", "cp2", "cp3", "w1"] and [h.name for h in copy.workers] == ["w1"]
    assert len(cluster.machines) == 5


def test_asking_for_machines_changes_neither_what_is_equal_nor_what_is_written() -> None:
    asked, fresh = lab(), lab()
    assert asked.machines
    assert asked == fresh and asked.model_dump() == fresh.model_dump()
    assert asked.model_dump_json() == fresh.model_dump_json()
    again = pickle.loads(pickle.dumps(asked))  # noqa: S301 - what was made here
    assert again == fresh and [h.name for h in again.machines] == [h.name for h in fresh.machines]
