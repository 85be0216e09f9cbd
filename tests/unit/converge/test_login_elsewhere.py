"""Logging in where the cluster does not speak: `ssh.host` for our own SSH, for the pins and for Ansible's ssh."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from provisioner.converge import login
from provisioner.converge.hosts import ansible_vars
from provisioner.model.endpoint import Endpoint
from provisioner.model.inventory import Inventory
from provisioner.transport import trust
from provisioner.transport.connection import Connection
from provisioner.transport.faults import HostFault
from provisioner.transport.target import Target, targets_of
from tests.fakes.sshd import SSHD, Sshd, run_sshd

ADDRESS = "10.20.0.11"      # where this machine surely has no sshd


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if not SSHD.exists():
        pytest.skip("openssh-server is not installed")
    if not Path("/proc/net/if_inet6").read_text(encoding="utf-8").strip():
        pytest.skip("this machine has no IPv6 at all")
    with run_sshd(tmp_path_factory.mktemp("sshd"), addresses=("127.0.0.1", "::1")) as server:
        yield server


def target_at(sshd: Sshd, directory: Path, **ssh: object) -> Target:
    directory.mkdir(exist_ok=True)
    text = {"version": 1, "cluster": "shop", "kubernetes": "1.36.3", "network": {"hosts": ["10.20.0.0/24"]},
            "operators": [sshd.key.with_suffix(".pub").read_text(encoding="utf-8").strip()],
            "ssh": {"user": getpass.getuser(), "become": "sudo", "port": sshd.port, "key": str(sshd.key)},
            "hosts": {"cp1": {"address": ADDRESS, "roles": ["control-plane"], "ssh": ssh}}}
    (directory / "cluster.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    inventory = Inventory.open(directory)
    assert inventory.cluster.machine("cp1").address == ADDRESS
    return targets_of(inventory)["cp1"]


@pytest.mark.parametrize("place", ["::1", "localhost"])
def test_one_logs_in_at_ssh_host_with_its_own_pin(both: Sshd, tmp_path: Path, place: str) -> None:
    target = target_at(both, tmp_path, host=place)
    shown = trust.fetch(target)
    assert shown.line.startswith(f"[{place}]:{both.port} ")
    with pytest.raises(HostFault, match="unknown host key") as refused:
        Connection(target).run(["true"])
    assert f"@{Endpoint(place, both.port)}: " in refused.value.message
    trust.pin(target.known_hosts_file, [shown])
    connection = Connection(target)
    try:
        assert connection.run(["id", "-un"]).stdout.decode().strip() == getpass.getuser()
    finally:
        connection.close()
    assert ansible_vars(target)["ansible_host"] == place
    if getpass.getuser() == "root":     # becomes root without asking, as every host of ours does
        login.prove(target)


def test_behind_a_jump_host_the_place_is_the_one_that_the_jump_host_knows(both: Sshd, tmp_path: Path) -> None:
    target = target_at(both, tmp_path, host="localhost", jump=f"{getpass.getuser()}@[::1]:{both.port}")
    trust.pin(target.known_hosts_file, [key for key in (trust.fetch_jump(target),) if key is not None])
    trust.pin(target.known_hosts_file, [trust.fetch(target)])
    connection = Connection(target)
    try:
        assert connection.run(["id", "-un"]).stdout.decode().strip() == getpass.getuser()
    finally:
        connection.close()
    words = shlex.split(ansible_vars(target)["ansible_ssh_common_args"])
    assert words[-1].endswith("-W '[%h]:%p' -- ::1")
    if getpass.getuser() == "root":
        login.prove(target)


def test_a_name_that_does_not_resolve_says_where_to_write_another(both: Sshd, tmp_path: Path) -> None:
    with pytest.raises(HostFault, match="the name does not resolve") as fault:
        Connection(target_at(both, tmp_path, host="cp1.invalid")).run(["true"])
    assert "hosts.cp1.ssh.host" in fault.value.hint
