"""How often hosts ask API servers how they are, by how many hosts there are."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.compile.load_balancer import CHECK_CPU, HAPROXY_CONFIG, intervals
from provisioner.model.cluster import Cluster
from provisioner.model.desired import File
from tests.unit.compile.compile_fixture import compiled, facts_of, inventory

OBSERVES = " observe layer4 error-limit 1 on-error fail-check"


def cluster_of(hosts: int, **changes: Any) -> Cluster:
    """Return a cluster of three control planes, which are the load balancers, and workers."""
    machines = {f"cp{n}": {"address": f"10.77.0.1{n}", "roles": ["control-plane"]} for n in (1, 2, 3)}
    machines |= {f"w{n}": {"address": f"10.77.{1 + n // 200}.{1 + n % 200}", "roles": ["worker"]}
                 for n in range(1, hosts - 2)}
    network = {"hosts": ["10.77.0.0/16"], "pods": ["10.240.0.0/13"], "services": ["10.96.0.0/16"]}
    return inventory(hosts=machines, network=network, **changes)


def config_of(cluster: Cluster, host: str) -> str:
    item = next(i for i in compiled(cluster, {host: facts_of(cluster)[host]}).hosts[host].items
                if i.path == HAPROXY_CONFIG)
    assert isinstance(item, File) and isinstance(item.content, str)
    return item.content


def line_of(cluster: Cluster, host: str) -> str:
    return next(line.strip() for line in config_of(cluster, host).splitlines() if "default-server" in line)


@pytest.mark.parametrize(("hosts", "line"), [
    (5, "default-server inter 1s fastinter 250ms downinter 250ms rise 2 fall 2"),
    (32, "default-server inter 1s fastinter 250ms downinter 250ms rise 2 fall 2"),
    (33, f"default-server inter 2s fastinter 250ms downinter 500ms rise 2 fall 2{OBSERVES}"),
    (500, f"default-server inter 16s fastinter 250ms downinter 4000ms rise 2 fall 2{OBSERVES}")])
def test_hosts_ask_less_often_the_more_they_are(hosts: int, line: str) -> None:
    assert line_of(cluster_of(hosts), "w1") == line


def test_who_holds_the_vip_asks_every_second_however_many_hosts_there_are() -> None:
    assert line_of(cluster_of(500), "cp1") == "default-server inter 1s fastinter 250ms downinter 250ms rise 2 fall 2"


def test_the_inventory_s_own_interval_wins() -> None:
    line = line_of(cluster_of(500, config={"haproxy": {"inter": "3s"}}), "w1")
    assert line == f"default-server inter 3s fastinter 250ms downinter 4000ms rise 2 fall 2{OBSERVES}"


def test_all_hosts_together_take_less_than_a_twentieth_of_a_core() -> None:
    balancers = 3
    for hosts in range(3, 3000):
        asked = (hosts - balancers) / intervals(hosts).inter + balancers / intervals(balancers).inter
        assert asked * CHECK_CPU < 0.05, hosts
