"""The address of a worker leads to another machine: refused, until that machine is to take its place."""

from __future__ import annotations

import json

import pytest

from provisioner.lab import faults
from tests.lab.conftest import Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(900)]


@pytest.mark.dirties
def test_another_machine_at_a_workers_address_is_refused_until_it_is_to_replace_it(single: Lab) -> None:
    before = single.on("w2", "cat", "/etc/machine-id").strip()
    node = json.loads(single.kubectl("get", "node", "w2", "-o", "json"))
    assert node["status"]["nodeInfo"]["machineID"] == before
    faults.kill(single.inventory, "w2")
    single.run("lab", "reset", "w2")                # another machine has its address: an empty one
    now = single.on("w2", "cat", "/etc/machine-id").strip()
    assert f"hosts.w2: {before} → {now}: another machine; `up` refuses it" in single.run("plan").stdout
    refused = single.run("up", "--yes", check=False)
    assert refused.returncode == 15, refused.stdout + refused.stderr
    assert "w2: another machine than the one that made its Node; was its address given away?" in refused.stderr
    assert "node replace w2" in refused.stderr
    assert single.on("w2", "ls", "/etc/kubernetes", "/opt/kubewright", check=False) == ""
    single.run("node", "replace", "w2", "--yes")
    assert "No changes." in single.run("up", "--yes").stderr
    assert single.json("status")["healthy"] is True
