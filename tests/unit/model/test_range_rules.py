"""Ranges of both families: what overlaps, what is wide enough, how many nodes have room, for any that is written."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.model.cluster import Cluster
from provisioner.model.validate_ranges import both_or_one, families, range_sizes, ranges_apart, room_for

IPNet = IPv4Network | IPv6Network
HOSTS, PODS = ["10.20.0.0/24", "fd20::/64"], ["10.244.0.0/16", "fd20:244::/56"]
SERVICES = ["10.96.0.0/16", "fd20:96::/112"]


def cluster(count: int = 1, /, **ranges: list[str]) -> Cluster:
    network = {"hosts": HOSTS, "pods": PODS, "services": SERVICES} | ranges
    hosts: dict[str, Any] = {f"w{n}": {"address": [f"10.20.0.{n + 10}", f"fd20::{n + 10:x}"], "roles": ["worker"]}
                             for n in range(count)}
    return Cluster.model_validate({"version": 1, "cluster": "shop", "kubernetes": "1.36.3", "network": network,
                                   "hosts": hosts})


def networks(version: int, low: int, high: int) -> st.SearchStrategy[IPNet]:
    """Return ranges of a family whose lengths lie between two."""
    bits = 32 if version == 4 else 128
    start = int(ip_network("10.0.0.0/8" if version == 4 else "fd00::/8").network_address)

    def made(length: int, number: int) -> IPNet:
        value = start | number % 2 ** (bits - 8)
        shift = bits - length
        pair = ((value >> shift) << shift, length)
        return IPv4Network(pair) if version == 4 else IPv6Network(pair)
    return st.builds(made, st.integers(low, high), st.integers(0, 2 ** bits))


@settings(max_examples=40, deadline=None)
@given(st.tuples(*(networks(version, low, high) for version, low, high in (
    (4, 8, 30), (4, 8, 30), (4, 8, 30), (6, 32, 126), (6, 32, 126), (6, 32, 126)))))
def test_ranges_are_refused_exactly_where_two_share_an_address(six: tuple[IPNet, ...]) -> None:
    hosts, pods, services = ([str(six[n]), str(six[n + 3])] for n in range(3))
    told = list(ranges_apart(cluster(hosts=hosts, pods=pods, services=services)))
    pairs = [(a, b) for family in (six[:3], six[3:]) for a, b in ((family[0], family[1]), (family[0], family[2]),
                                                                 (family[1], family[2]))]
    shared = [(a, b) for a, b in pairs if int(a[0]) <= int(b[-1]) and int(b[0]) <= int(a[-1])]
    assert len(told) == len(shared)


@settings(max_examples=40, deadline=None)
@given(networks(6, 40, 72), st.integers(1, 240))
def test_a_pod_range_of_ipv6_has_a_64_for_every_node_or_is_refused(pods: IPNet, nodes: int) -> None:
    told = [message for _, message in range_sizes(cluster(nodes, pods=[PODS[0], str(pods)])) if str(pods) in message]
    room = sum(1 for _ in zip(range(nodes), pods.subnets(new_prefix=64), strict=False)) if pods.prefixlen <= 64 else 0
    fits = 48 <= pods.prefixlen <= 64 and room >= nodes
    assert (told == []) is fits
    assert (room_for(pods, 64) >= nodes) is (room >= nodes)


@settings(max_examples=40, deadline=None)
@given(networks(6, 100, 128))
def test_a_service_range_of_ipv6_is_a_108_to_a_120(services: IPNet) -> None:
    told = [m for _, m in range_sizes(cluster(services=[SERVICES[0], str(services)])) if str(services) in m]
    assert (told == []) is (108 <= services.prefixlen <= 120)


def test_two_families_throughout_and_one_throughout_pass() -> None:
    spec = cluster().hosts["w0"]
    one = cluster(pods=PODS[:1], services=SERVICES[:1]).model_copy(update={
        "hosts": {"w0": spec.model_copy(update={"addresses": spec.addresses[:1]})}})
    for whole in (cluster(), one):
        assert [*families(whole), *both_or_one(whole), *range_sizes(whole), *ranges_apart(whole)] == []


@pytest.mark.parametrize("ranges", [
    {"pods": PODS[:1]}, {"services": SERVICES[:1]}, {"pods": PODS[:1], "services": SERVICES[:1]},
    {"pods": PODS[::-1]}, {"services": SERVICES[::-1]}, {"hosts": HOSTS[1:]}, {"pods": [PODS[0], "10.245.0.0/16"]}])
def test_two_families_by_halves_or_the_other_way_round_are_refused(ranges: dict[str, list[str]]) -> None:
    assert [*families(cluster(**ranges)), *both_or_one(cluster(**ranges))]
