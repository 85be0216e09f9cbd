"""A host and a port, read and written; the inventory's addresses, one or two of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.model.cluster import Cluster
from provisioner.model.endpoint import Endpoint, known_hosts_name
from tests.unit.compile.compile_fixture import inventory

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases" / "endpoints.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['text']} {case.get('port', '')}")
def test_a_host_and_a_port_are_read_and_written_with_brackets_where_they_are_due(case: dict[str, Any]) -> None:
    if "host" not in case:
        with pytest.raises(ValueError, match="is not HOST:PORT"):
            Endpoint.parse(case["text"], case.get("port"))
        return
    there = Endpoint.parse(case["text"], case.get("port"))
    assert (there.host, str(there), there.url) == (case["host"], case["written"], case["url"])
    assert known_hosts_name(there.host, there.port) == case["pin"]
    assert Endpoint.parse(str(there)) == there


def host(address: Any, **spec: Any) -> Cluster:
    return inventory(hosts={"cp1": {"address": address, "roles": ["control-plane"], **spec}})


def test_one_address_may_stand_in_a_list_or_alone_and_means_the_same() -> None:
    alone, listed = host("10.77.0.11"), host(["10.77.0.11"])
    assert alone == listed
    assert alone.model_dump_json() == listed.model_dump_json()
    assert json.loads(listed.model_dump_json())["hosts"]["cp1"]["address"] == "10.77.0.11"


def test_of_two_addresses_the_first_is_the_one_that_is_used() -> None:
    two = host(["10.77.0.11", "fd00::11"])
    assert two.machine("cp1").addresses == ("10.77.0.11", "fd00::11")
    assert two.machine("cp1").address == two.ssh_of("cp1").host == "10.77.0.11"
    assert Cluster.model_validate_json(two.model_dump_json(), strict=True) == two


def test_the_vip_takes_one_or_two_as_well() -> None:
    assert str(inventory(api={"vip": "10.77.0.10"}).api.vip) == "10.77.0.10"
    assert inventory(api={"vip": "10.77.0.10"}) == inventory(api={"vip": ["10.77.0.10"]})
    assert str(inventory(api={"vip": ["10.77.0.10", "fd00::10"]}).api_endpoint) == "10.77.0.10:8443"
    assert inventory(api={}).api.vip is None


def test_one_logs_in_at_the_address_unless_the_host_says_where() -> None:
    assert host("10.77.0.11").ssh_of("cp1").host == "10.77.0.11"
    assert host("10.77.0.11", ssh={"host": "cp1.example.org"}).ssh_of("cp1").host == "cp1.example.org"
    elsewhere = host("10.77.0.11", ssh={"host": "cp1.example.org", "port": 2222}).ssh_of("cp1")
    assert (elsewhere.user, elsewhere.port, elsewhere.become) == ("admin", 2222, "sudo")
