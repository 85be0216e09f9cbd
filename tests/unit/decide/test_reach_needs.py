"""Who must reach whom: every talk that a cluster has, and no more pairs than there is talk."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.decide import reach
from provisioner.model.cluster import Cluster
from provisioner.model.reach import Need, Probed, Tried
from tests.unit.compile.compile_fixture import inventory

MASTER = ["etcd", "control-plane", "load-balancer"]


def made(planes: int, workers: int, **changes: Any) -> Cluster:
    """Return a cluster of made-up hosts, with what `inventory` takes besides."""
    names = [f"cp{n}" for n in range(planes)] + [f"w{n}" for n in range(workers)]
    hosts = {name: {"address": f"10.77.{1 + n // 200}.{1 + n % 200}",
                    "roles": MASTER if name.startswith("cp") else ["worker"]} for n, name in enumerate(names)}
    return inventory(hosts=hosts, **changes)


def ways(cluster: Cluster, at: str, **choice: Any) -> set[tuple[str, str]]:
    return {(n.source, n.target) for n in reach.needs(cluster, **choice) if n.at.startswith(at)}


def all_pairs(one: list[str], other: list[str]) -> set[tuple[str, str]]:
    return {(a, b) for a in one for b in other if a != b}


def test_of_five_hosts_every_talk_is_tried_between_every_pair() -> None:
    cluster = made(3, 2)
    planes, every = ["cp0", "cp1", "cp2"], ["cp0", "cp1", "cp2", "w0", "w1"]
    assert ways(cluster, "tcp 2380") == all_pairs(planes, planes)
    assert ways(cluster, "tcp 2379") == all_pairs(planes, planes)
    assert ways(cluster, "tcp 6443") == all_pairs(every, planes)
    assert ways(cluster, "tcp 8443") == all_pairs(every, planes)
    assert ways(cluster, "tcp 10250") == all_pairs(planes, every)
    assert ways(cluster, "udp 8472") == all_pairs(every, every)
    assert ways(cluster, "vrrp") == all_pairs(planes, planes)
    assert {(n.source, n.target) for n in reach.needs(cluster)} == all_pairs(every, every)


def test_an_api_server_without_a_member_of_its_own_needs_all_members() -> None:
    hosts = {"e1": {"address": "10.77.1.1", "roles": ["etcd"]}, "e2": {"address": "10.77.1.2", "roles": ["etcd"]},
             "e3": {"address": "10.77.1.3", "roles": ["etcd"]},
             "cp1": {"address": "10.77.1.4", "roles": ["control-plane"]}}
    needs = [n for n in reach.needs(inventory(hosts=hosts, api={})) if n.port == 2379]
    assert {(n.source, n.target) for n in needs if n.essential} == all_pairs(["cp1"], ["e1", "e2", "e3"])
    assert {(n.source, n.target) for n in needs if not n.essential} == all_pairs(["e1", "e2", "e3"], ["e1", "e2", "e3"])


def test_without_a_vip_there_is_no_balancer_to_reach_and_without_a_pod_network_of_ours_no_packet_of_it() -> None:
    cluster = made(1, 1, api={}, network={"hosts": ["10.77.0.0/16"], "pods": ["10.244.0.0/16"],
                                          "services": ["10.96.0.0/16"], "plugin": "none"})
    assert {n.at for n in reach.needs(cluster)} == {"tcp 6443", "tcp 10250"}


def test_a_new_host_is_tried_with_those_that_it_talks_to_and_nobody_else_is() -> None:
    cluster = made(3, 40)
    about = reach.needs(cluster, about={"w7"})
    assert {n for n in about if "w7" not in (n.source, n.target)} == set()
    assert len(about) < 40
    assert all_pairs(["w7"], ["cp0", "cp1", "cp2"]) <= {(n.source, n.target) for n in about}


def test_the_size_of_packets_is_that_of_the_sender_s_interface() -> None:
    needs = reach.needs(made(1, 2, api={}), sizes={"w0": 9000, "w1": 1500})
    assert {(n.source, n.size) for n in needs if n.protocol == "udp"} == {("cp0", 0), ("w0", 9000), ("w1", 1500)}
    assert {n.size for n in needs if n.protocol != "udp"} == {0}


@pytest.mark.parametrize(("hosts", "tries", "pairs"), [(100, 1877, 968), (500, 9477, 4968), (1000, 18977, 9968)])
def test_pairs_grow_with_what_must_talk_and_not_with_the_square(hosts: int, tries: int, pairs: int) -> None:
    needs = reach.needs(made(3, hosts - 3))
    assert (len(needs), len({(n.source, n.target) for n in needs})) == (tries, pairs)
    assert str(Probed(tuple(Tried(need, True) for need in needs))) == (
        f"Probed {pairs:,} pairs of hosts, {tries:,} ways between them.")


@settings(deadline=None, max_examples=40)
@given(planes=st.sampled_from([1, 3, 5]), workers=st.integers(0, 120))
def test_every_node_is_a_source_and_a_target_and_none_has_more_than_its_share(planes: int, workers: int) -> None:
    cluster = made(planes, workers, **({} if planes > 1 else {"api": {}}))
    names = [h.name for h in cluster.machines]
    needs = reach.needs(cluster)
    assert len(needs) == len(set(needs))
    assert all(n.source != n.target for n in needs)
    assert len(needs) <= max(len(names), reach.FEW) * (5 * planes + 2 * planes + 2 * len(reach.STRIDES) + reach.FEW)
    overlay = {(n.source, n.target) for n in needs if n.protocol == "udp"}
    if len(names) > 1:
        assert {a for a, _ in overlay} == {b for _, b in overlay} == set(names)
    assert {(b, a) for a, b in overlay} == overlay, "both ways: a firewall may close one"
    assert _connected(names, overlay)
    for worker in (n for n in names if n.startswith("w") and len(names) > reach.FEW):
        assert sum(worker in pair for pair in overlay) <= 2 * (planes + 2 * len(reach.STRIDES))


def _connected(names: list[str], pairs: set[tuple[str, str]]) -> bool:
    seen, new = {names[0]}, [names[0]]
    while new:
        one = new.pop()
        near = {b for a, b in pairs if a == one} - seen
        seen |= near
        new += near
    return seen == set(names)


def test_a_host_listens_on_what_others_need_of_it() -> None:
    needs = (Need("a", "b", "tcp", 1, ""), Need("c", "b", "tcp", 1, ""), Need("b", "c", "udp", 2, ""))
    assert reach.listens(needs) == {"b": (("tcp", 1),), "c": (("udp", 2),)}


def test_packets_of_the_pod_network_are_those_that_the_inventory_makes() -> None:
    def packets(**backend: Any) -> set[tuple[str, int]]:
        cluster = made(1, 1, config={"flannel": {"Backend": backend}})
        return {(n.at, n.size) for n in reach.needs(cluster, sizes={"cp0": 1500, "w0": 1500}) if n.at.startswith("udp")}

    assert packets() == packets(MTU=9000) == {("udp 8472", 1500)}
    assert packets(Type="vxlan", Port=4789, MTU=1400) == {("udp 4789", 1400)}
    assert packets(Type="host-gw") == packets(Type="vxlan", DirectRouting=True) == set()
