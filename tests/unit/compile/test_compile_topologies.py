"""What is particular to each shape of a cluster, compared with tests/golden/topologies: a page a shape.

`UPDATE_GOLDEN=1` writes them anew. The VIP goes to the interface that is in its network.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.compile.etcd import INITIAL_ENV
from provisioner.compile.kubelet import REGISTRATION
from provisioner.compile.load_balancer import HAPROXY_CONFIG, KEEPALIVED_CONFIG
from provisioner.compile.pki import APISERVER
from provisioner.errors import PreflightRefused
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Certificate, Desired, File, HostDesired, Unit
from provisioner.model.facts import Interface
from provisioner.model.validate import validate
from tests.topologies import TOPOLOGIES, Topology
from tests.unit.compile.compile_fixture import compiled, facts_of, inventory

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "topologies"
# Of these the whole text, of others the lines that say where something is.
WHOLE = (INITIAL_ENV, REGISTRATION)
LINES = {
    HAPROXY_CONFIG: r"^ +(bind \S+|server \S+ \S+)",
    # Who speaks VRRP with whom, and where the VIP goes.
    KEEPALIVED_CONFIG: r"^ +((interface|priority|unicast_src_ip|track_interface) .+|[\d.]+(/32 dev \S+)?|host1)$",
    "/etc/systemd/system/kube-apiserver.service": r"--(etcd-servers|advertise-address|goaway-chance)=\S+",
    "/etc/systemd/system/etcd.service": r"--listen-(client|peer)-urls=\S+",
    "/etc/systemd/system/keepalived.service.d/50-kubewright.conf": r"^ExecStopPost=.*",
}
every = pytest.mark.parametrize("topology", TOPOLOGIES, ids=[t.name for t in TOPOLOGIES])


def cluster_of(topology: Topology) -> Cluster:
    return inventory(**topology.changes)


def desired_of(topology: Topology) -> Desired:
    cluster = cluster_of(topology)
    return compiled(cluster, topology.facts(facts_of(cluster)))


def page(host: HostDesired) -> str:
    lines = [f"# {host.name}: {' '.join(i.path for i in host.items if isinstance(i, Unit))}"]
    for item in host.items:
        if isinstance(item, File) and item.path in WHOLE:
            lines += [f"## {item.path}", item.content.rstrip("\n")]
        if isinstance(item, File) and item.path in LINES:
            lines += [f"## of {item.path}", *(m[0].strip() for m in re.finditer(LINES[item.path], item.content, re.M))]
        if isinstance(item, Certificate) and item.path == APISERVER.path:
            lines += [f"## names in {item.path}", " ".join((*item.dns_names, *item.ip_addresses))]
    return "\n".join(lines) + "\n"


@every
def test_what_is_particular_to_a_shape_is_as_its_golden_page(topology: Topology) -> None:
    text = "\n".join(page(host) for host in desired_of(topology).hosts.values())
    file = GOLDEN / f"{topology.name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def test_there_is_no_page_of_a_shape_that_is_no_more() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == {t.name for t in TOPOLOGIES}


@every
def test_every_shape_is_valid_and_has_its_members(topology: Topology) -> None:
    cluster = cluster_of(topology)
    assert list(validate(cluster)) == []
    assert tuple(h.name for h in cluster.etcd_hosts) == topology.members
    assert topology.rolls is (len(cluster.control_planes) > 1)
    assert len(cluster.hosts) <= 5, "what one machine bears"


APART = next(t for t in TOPOLOGIES if t.name == "balancers-apart")


def test_a_load_balancer_in_no_network_of_the_vip_is_refused_with_what_it_has() -> None:
    cluster = cluster_of(APART)
    with pytest.raises(PreflightRefused, match="lb1, lb2: no interface is in the network of the VIP") as refused:
        compiled(cluster, facts_of(cluster))
    assert refused.value.code == "vip-without-interface"
    assert "lb1 has 10.77.0.41, 127.0.0.1" in refused.value.details


def interface_of_the_vip(cluster: Cluster, *interfaces: Interface) -> str:
    facts = APART.facts(facts_of(cluster))
    first = replace(facts["lb1"], interfaces=interfaces)
    conf = compiled(cluster, facts | {"lb1": first}).hosts["lb1"].find("file", KEEPALIVED_CONFIG)
    assert isinstance(conf, File)
    found = re.search(r"/32 dev (\S+)", conf.content)
    assert found
    return found[1]


OWN = Interface("host0", ("10.77.0.41/24",), 1500)


@pytest.mark.parametrize(("interfaces", "device"), [
    ((OWN, Interface("host1", ("10.78.0.41/24",), 1500)), "host1"),
    # What carries the VIP itself, wherever somebody put it, says nothing of where it belongs.
    ((OWN, Interface("odd0", ("10.78.0.10/32",), 1500), Interface("host1", ("10.78.0.41/24",), 1500)), "host1"),
    ((OWN, Interface("six0", ("fd00::1/64",), 1500), Interface("host2", ("10.78.0.41/16",), 1500)), "host2"),
])
def test_the_vip_goes_to_the_interface_that_is_in_its_network(interfaces: tuple[Interface, ...], device: str) -> None:
    assert interface_of_the_vip(cluster_of(APART), *interfaces) == device


def test_a_vip_of_the_host_s_own_network_goes_to_its_own_interface_whatever_prefix_that_has_there() -> None:
    cluster = cluster_of(replace(APART, api={"vip": "10.77.0.10"}))
    narrow = Interface("host0", ("10.77.0.41/32",), 1500)
    assert interface_of_the_vip(cluster, narrow, Interface("host1", ("10.77.0.9/24",), 1500)) == "host0"
