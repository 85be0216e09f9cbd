"""Faults of lab nodes, as far as no node is needed: whose machines may be broken, and what is seen of a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.errors import InventoryRefused, UsageFault
from provisioner.lab import faults, nodes, requirements
from provisioner.model.inventory import Inventory

TEXT = """version: 1
cluster: faults
lab: {lab}
kubernetes: "1.36.3"
network: {{hosts: [10.77.0.0/24]}}
api: {{vip: 10.77.0.10}}
ssh: {{user: admin}}
operators: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEmq0fLYJmZSBmoZ5PR8iRbU8dZqF0v9y5DPTWJmmDuF ops@example]
hosts:
  cp1: {{address: 10.77.0.11, roles: [etcd, control-plane, load-balancer, worker]}}
"""
ETCD = ("12:cpu:/kubewright-lab/cp1/system.slice/etcd.service\n"
        "1:name=systemd:/kubewright-lab/cp1/system.slice/etcd.service\n")
POD = "1:name=systemd:/kubewright-lab/cp1/kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope\n"


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Inventory]:
    monkeypatch.setattr(requirements, "require_root", lambda: None)

    def opened(lab: str) -> Inventory:
        (tmp_path / "cluster.yaml").write_text(TEXT.format(lab=lab))
        return Inventory.open(tmp_path)

    return opened


@pytest.mark.parametrize("act", [
    lambda i: faults.kill(i, "cp1"), lambda i: faults.cut(i, "cp1"), lambda i: faults.drop(i, "cp1"),
    lambda i: faults.pause(i, "cp1", "etcd"), lambda i: faults.undo(i), lambda i: faults.come_back(i, "cp1")])
def test_real_machines_are_not_broken(inventory: Callable[[str], Inventory], act: Callable[[Inventory], None]) -> None:
    with pytest.raises(InventoryRefused) as caught:
        act(inventory("false"))
    assert caught.value.code == "not-a-lab"


def test_an_unknown_host_is_a_fault_of_the_command_line(inventory: Callable[[str], Inventory]) -> None:
    with pytest.raises(UsageFault, match="cp9: no such host"):
        faults.cut(inventory("true"), "cp9")
    with pytest.raises(UsageFault, match="never leaves it"):
        faults.drop(inventory("true"), "cp1", peer="cp1")


def test_stopped_processes_are_told_by_their_service_and_their_number_in_the_node() -> None:
    def status(state: str, *numbers: int) -> str:
        return f"Name:\tetcd: old\nState:\t{state}\nNSpid:\t" + "\t".join(map(str, numbers)) + "\n"

    stopped, sleeping = "T (stopped)", "S (sleeping)"
    assert faults.stopped_processes([(status(stopped, 4711, 80), ETCD), (status(sleeping, 4712, 81), ETCD),
                                     (status(stopped, 4713, 82, 5), POD)]) == {"etcd.service": {"80"}}


def test_the_main_process_of_each_unit_is_read_in_any_order() -> None:
    assert faults.main_processes("Id=etcd.service\nMainPID=80\n\nMainPID=0\nId=ssh.service\n") == {
        "etcd.service": "80", "ssh.service": "0"}


def test_the_nodes_init_is_number_one_exactly_one_namespace_down() -> None:
    assert nodes.is_init("Name:\tsystemd\nNSpid:\t4711\t1\n")
    assert not nodes.is_init("Name:\tsystemd-nspawn\nNSpid:\t4710\n")
    assert not nodes.is_init("Name:\tpause\nNSpid:\t4800\t90\t1\n")
    assert not nodes.is_init("Name:\tkthreadd\n")
