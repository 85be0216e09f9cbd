"""Which hosts of a large cluster measure: bounded, stable, every control plane among them."""

from __future__ import annotations

import pytest
import yaml

from provisioner.decide.sample import AT_MOST, measuring
from provisioner.model.cluster import Cluster
from tests.unit.compile.compile_fixture import LAB

CONTROL = ["cp1", "cp2", "cp3"]


def cluster(workers: list[str]) -> Cluster:
    document = yaml.safe_load(LAB)
    document["hosts"] = {name: spec for name, spec in document["hosts"].items() if name in CONTROL} | {
        name: {"address": f"10.77.{2 + n // 250}.{n % 250 + 1}", "roles": ["worker"]} for n, name in enumerate(workers)}
    return Cluster.model_validate(document)


def names(count: int) -> list[str]:
    return [f"w{n}" for n in range(1, count + 1)]


def test_in_a_small_cluster_every_host_measures() -> None:
    hosts = [*CONTROL, *names(AT_MOST - 3)]
    assert measuring(cluster(names(AT_MOST - 3)), hosts) == tuple(hosts)


@pytest.mark.parametrize("workers", [48, 497, 1997])
def test_in_a_large_one_a_bounded_number_does_with_every_control_plane(workers: int) -> None:
    found = measuring(cluster(names(workers)), [*CONTROL, *names(workers)])
    assert len(found) == AT_MOST and found[:3] == tuple(CONTROL) and len(set(found)) == AT_MOST


def test_which_they_are_does_not_depend_on_the_order_and_a_new_host_changes_one_at_most() -> None:
    before = set(measuring(cluster(names(500)), [*CONTROL, *names(500)]))
    assert set(measuring(cluster(names(500)[::-1]), [*CONTROL, *names(500)])) == before
    for more in range(501, 521):
        after = set(measuring(cluster([*names(500), f"w{more}"]), [*CONTROL, *names(500), f"w{more}"]))
        assert len(before - after) <= 1 and after - before <= {f"w{more}"}


def test_they_are_spread_over_the_cluster() -> None:
    taken = [int(name[1:]) for name in measuring(cluster(names(500)), names(500))]
    assert all(any(low < n <= low + 100 for n in taken) for low in range(0, 500, 100))


def test_hosts_that_cannot_be_asked_are_not_among_them_and_others_take_their_place() -> None:
    all_of = measuring(cluster(names(500)), [*CONTROL, *names(500)])
    gone = {all_of[0], all_of[-1]}
    left = measuring(cluster(names(500)), [h for h in [*CONTROL, *names(500)] if h not in gone])
    assert not gone & set(left) and len(left) == AT_MOST


def test_more_control_planes_than_the_bound_all_measure() -> None:
    assert measuring(cluster(names(20)), [*CONTROL, *names(20)], at_most=2) == tuple(CONTROL)
