"""The tables of components, ports, phases and Pod networks say all there is, and nobody else says it again."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from provisioner.artifacts.lockfile import load_lock
from provisioner.compile import networks
from provisioner.compile.networks.contract import PodNetwork
from provisioner.model import families, ports
from provisioner.model.cluster import Network
from provisioner.model.components import BY_NAME, INTERRUPTING, TABLE, all_units, network_is_ours, on_host, units_on
from provisioner.model.desired import Directory, Package, Unit
from provisioner.model.phases import PHASES
from tests.unit.compile.compile_fixture import compiled, facts_of, inventory

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = {"network": {"hosts": ["10.77.0.0/24"], "plugin": "none"}}
# The only places that read which Pod network it is: the row of a component, and the table of networks.
READ_THE_NETWORK = {"model/components.py", "compile/networks/__init__.py", "model/validate_config.py"}


def test_every_unit_on_a_host_is_in_the_row_of_a_component_with_its_phase() -> None:
    row_of = {unit: row for row, unit in all_units()}
    settings: tuple[dict[str, Any], ...] = ({}, WITHOUT)
    for changes in settings:
        for host in compiled(inventory(**changes)).hosts.values():
            for item in (item for item in host.items if isinstance(item, Unit)):
                assert item.phase == row_of[item.path].phase, item.path


def test_every_component_that_runs_on_a_host_has_its_part_there_and_says_whose_it_is() -> None:
    cluster = inventory()
    for name, host in compiled(cluster).hosts.items():
        runs = {row.name for row in on_host(cluster, cluster.machine(name))}
        assert {item.component for item in host.items if isinstance(item, Unit)} == runs


@pytest.mark.parametrize("system", [("debian", "12"), ("rhel", "9.4")], ids="-".join)
def test_the_units_of_a_host_are_those_that_its_system_gets_whatever_the_inventory_says_of_it(
        system: tuple[str, str]) -> None:
    cluster, row = inventory(), families.of(*system)
    assert row is not None
    made = compiled(cluster, facts_of(cluster, os_id=system[0], os_version=system[1]))
    for name, host in made.hosts.items():
        assert set(units_on(cluster, cluster.machine(name), row)) == {
            item.path for item in host.items if isinstance(item, Unit)}


def test_every_unit_of_a_row_is_made_and_no_unit_is_in_two_rows() -> None:
    asked = inventory(config={"etcd": {"snapshotEvery": "6h"}}, time={"servers": ["192.0.2.1"]}, trust=["x"],
                      firewall="ours")
    clusters = (compiled(asked), compiled(asked, facts_of(asked, os_id="rhel", os_version="9.4")))
    made = {item.path for cluster in clusters for host in cluster.hosts.values() for item in host.items
            if isinstance(item, Unit)}
    assert Counter(unit for _, unit in all_units()) == dict.fromkeys(made, 1)


def test_a_host_has_the_packages_of_the_components_that_it_runs() -> None:
    cluster = inventory()
    for name, host in compiled(cluster).hosts.items():
        wanted = {p for row in TABLE if row.runs_on(cluster, cluster.machine(name)) for p in row.packages}
        assert {item.path for item in host.items if isinstance(item, Package)} == wanted


def test_each_port_is_in_the_row_of_one_component() -> None:
    assert Counter(port.number for row in TABLE for port in row.ports) == dict.fromkeys(ports.NAMES, 1)
    assert all(answer.port in ports.NAMES for row in TABLE for answer in row.answers)


def test_each_phase_with_units_interrupts_and_no_other_does() -> None:
    with_units = {row.phase for row, _ in all_units()}
    assert with_units == INTERRUPTING <= set(PHASES)
    for row in TABLE:
        serves = any(not unit.endswith(".timer") for unit in row.units)
        assert serves is bool(row.interrupts), row.name


def test_each_pod_network_that_an_inventory_may_name_keeps_the_contract() -> None:
    assert set(get_args(Network.model_fields["plugin"].annotation)) == set(networks.TABLE)
    assert {row.network for row in TABLE} - {""} <= set(networks.TABLE)
    for name, network in networks.TABLE.items():
        assert network.name == name
        cluster = inventory(network={"hosts": ["10.77.0.0/24"], "plugin": name})
        assert network_is_ours(cluster) is network.ours is (networks.of(cluster) is network and bool(network.unit))
        rows = [row for row in TABLE if row.network == name]
        assert network.unit in {unit for row in rows for unit in row.units} | {""}
        assert bool(network.cni_config) is bool(network.write_cni_config) is bool(network.announces) is network.ours


@pytest.mark.parametrize("file", sorted((ROOT / "provisioner").rglob("*.py")), ids=lambda p: str(p.name))
def test_nobody_but_the_tables_asks_which_pod_network_it_is(file: Path) -> None:
    shown = str(file.relative_to(ROOT / "provisioner"))
    reads = [node.lineno for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
             if isinstance(node, ast.Attribute) and node.attr == "plugin"]
    assert not reads or shown in READ_THE_NETWORK, f"{shown}: lines {reads}"


def test_nobody_outside_imports_the_module_of_one_pod_network() -> None:
    for file in sorted((ROOT / "provisioner").rglob("*.py")):
        names = [f"{node.module}.{alias.name}" for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                 if isinstance(node, ast.ImportFrom) for alias in node.names]
        assert file.parent.name == "networks" or not any(
            f"compile.networks.{plugin}" in name for name in names for plugin in networks.TABLE), file


def test_another_pod_network_needs_its_value_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    other = PodNetwork(
        name="other", ours=True, config_dir="/etc/other/net.d", bin_dir="/opt/other/bin", parents=("/etc/other",),
        plugins=("ptp",), unit="other.service", write_cni_config="/opt/other/write",
        items=lambda ctx: [Directory(path="/var/lib/other", phase="network")], device=lambda cluster, host: "other0",
        rules=lambda cluster, host, system: (("ip other post", "masquerade"),))
    monkeypatch.setattr(networks, "TABLE", {**networks.TABLE, "other": other})
    lab = inventory()
    cluster = lab.model_copy(update={"network": lab.network.model_copy(update={"plugin": "other"})})
    host = compiled(cluster).hosts["w1"]
    text = repr(host)
    for part in ("/etc/other/net.d", "/opt/other/bin/ptp", "/opt/other/write", "/var/lib/other", "other0",
                 "other.service"):
        assert part in text, part
    assert not [item.path for item in host.items if item.component == "flannel" or item.path in ("vxlan", "iptables")]


def test_a_pod_network_s_own_words_are_in_its_own_module() -> None:
    for name in networks.TABLE.keys() - {"none"}:
        unit = networks.TABLE[name].unit
        for file in sorted((ROOT / "provisioner").rglob("*.py")):
            shown = str(file.relative_to(ROOT / "provisioner"))
            if unit in file.read_text(encoding="utf-8"):
                assert shown in ("model/components.py", f"compile/networks/{name}.py"), shown


def test_an_image_of_a_row_is_one_that_the_lab_s_lock_pins() -> None:
    pinned = {artifact.name for artifact in load_lock(ROOT / "inventories" / "lab" / "artifacts.lock").artifacts}
    assert {row.image for row in TABLE if row.image} <= pinned
    assert all(row.image for row in TABLE if row.in_pods) and "containerd" in BY_NAME
