"""Ansible sees the same hosts as we do, and believes no other host keys."""

import getpass
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.model.inventory import Inventory
from tests.fakes.example import copy
from tests.fakes.sshd import SSHD, Sshd, run_sshd

ROOT = Path(__file__).parents[3]
JUMP = """\
version: 1
cluster: shop
lab: true
kubernetes: "1.36.3"
network: {hosts: [10.20.0.0/24]}
ssh: {user: admin, jump: "joe@bastion.example.org:2022"}
hosts:
  cp1: {address: 10.20.0.11, roles: [control-plane, worker]}
  idle: {address: 10.20.0.31, roles: [], ssh: {user: root, become: none, port: 2222}}
"""


def ansible_inventory(file: Path, home: Path) -> subprocess.CompletedProcess[str]:
    config = home / "ansible.cfg"
    config.touch()
    environ = {**os.environ, "ANSIBLE_INVENTORY_PLUGINS": str(ROOT / "playbooks" / "inventory_plugins"),
               "ANSIBLE_INVENTORY_ENABLED": "kubewright", "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
               "ANSIBLE_HOME": str(home), "ANSIBLE_CONFIG": str(config)}
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(file), "--list"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, cwd=home)


def plain(value: Any) -> Any:
    """Take off Ansible's mark of text that is not a template."""
    if isinstance(value, dict):
        return value["__ansible_unsafe"] if "__ansible_unsafe" in value else {k: plain(v) for k, v in value.items()}
    return value


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def example(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    done = ansible_inventory(place / "cluster.yaml", tmp_path_factory.mktemp("ansible"))
    assert done.returncode == 0, done.stderr
    return plain(json.loads(done.stdout))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("a lab 100%")
    (directory / "cluster.yaml").write_text(JUMP, encoding="utf-8")
    done = ansible_inventory(directory / "cluster.yaml", directory)
    assert done.returncode == 0, done.stderr
    return directory, plain(json.loads(done.stdout))["_meta"]["hostvars"]


def test_ansible_sees_exactly_the_hosts_of_the_file_with_their_addresses(example: Any, place: Path) -> None:
    ours = {host.name: host.address for host in Inventory.open(place).cluster.machines}
    assert {name: values["ansible_host"] for name, values in example["_meta"]["hostvars"].items()} == ours


def test_every_role_is_a_group(example: Any) -> None:
    assert example["control_plane"]["hosts"] == ["cp1", "cp2", "cp3"]
    assert example["etcd"] == example["load_balancer"] == example["control_plane"]
    assert example["worker"]["hosts"] == ["w1"]


def test_what_a_host_says_of_ssh_reaches_ansible(example: Any, lab: Any) -> None:
    assert example["_meta"]["hostvars"]["w1"]["ansible_port"] == 2222
    idle = lab[1]["idle"]
    assert (idle["ansible_user"], idle["ansible_port"], idle["ansible_become"]) == ("root", 2222, False)
    assert lab[1]["cp1"]["ansible_become"] is True


def options(arguments: str) -> dict[str, str]:
    words = shlex.split(arguments)
    assert words[::2] == ["-o"] * (len(words) // 2)
    return dict(word.split("=", 1) for word in words[1::2])


def test_only_pinned_host_keys_are_believed(example: Any, place: Path) -> None:
    seen = options(example["_meta"]["hostvars"]["cp1"]["ansible_ssh_common_args"])
    assert seen == {"StrictHostKeyChecking": "yes", "GlobalKnownHostsFile": "/dev/null",
                    "UserKnownHostsFile": f'"{place / "known_hosts"}"'}


def test_a_given_key_is_the_only_one_offered(lab: Any) -> None:
    directory, hosts = lab
    assert hosts["cp1"]["ansible_ssh_private_key_file"] == \
        str(directory / ".kubewright" / "id_ed25519").replace("%", "%%")
    assert options(hosts["cp1"]["ansible_ssh_common_args"])["IdentitiesOnly"] == "yes"


def test_the_jump_hosts_key_is_checked_by_the_same_file(lab: Any) -> None:
    directory, hosts = lab
    words = shlex.split(options(hosts["cp1"]["ansible_ssh_common_args"])["ProxyCommand"])
    known_hosts = str(directory / ".kubewright" / "known_hosts").replace("%", "%%")
    # ssh expands `%` in the ProxyCommand first, the inner ssh in what is left.
    assert f'UserKnownHostsFile="{known_hosts.replace("%", "%%")}"' in words
    assert words[0] == "ssh" and words[-8:] == ["-p", "2022", "-l", "joe", "-W", "[%h]:%p", "--", "bastion.example.org"]


def test_two_inventories_with_equal_addresses_never_share_a_connection(lab: Any, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(JUMP, encoding="utf-8")
    other = plain(json.loads(ansible_inventory(tmp_path / "cluster.yaml", tmp_path).stdout))["_meta"]["hostvars"]
    paths = [host["ansible_control_path"] for host in (*lab[1].values(), *other.values())]
    assert len(set(paths)) == 4
    assert all(len(path.removeprefix("%(directory)s")) <= 16 for path in paths)


def test_a_wrong_inventory_stops_ansible_with_all_its_faults(tmp_path: Path) -> None:
    wrong = JUMP.replace("10.20.0.31", "10.20.0.11").replace("admin", "-x")
    (tmp_path / "cluster.yaml").write_text(wrong, encoding="utf-8")
    done = ansible_inventory(tmp_path / "cluster.yaml", tmp_path)
    assert done.returncode != 0
    assert "is the address of cp1 already" in done.stderr and "is not a user name" in done.stderr


@pytest.fixture(scope="module")
def behind_itself(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Sshd, list[str]]]:
    """A real sshd that is its own jump host, an inventory in a directory with awkward signs, and the ssh command."""
    if not SSHD.exists():
        pytest.skip("openssh-server is not installed")
    with run_sshd(tmp_path_factory.mktemp("sshd")) as server:
        directory = tmp_path_factory.mktemp("a real 100%")
        text = JUMP.replace("joe@bastion.example.org:2022", f"{getpass.getuser()}@127.0.0.1:{server.port}")
        (directory / "cluster.yaml").write_text(text, encoding="utf-8")
        (directory / ".kubewright").mkdir()
        server.key.rename(directory / ".kubewright" / "id_ed25519")
        hosts = plain(json.loads(ansible_inventory(directory / "cluster.yaml", directory).stdout))["_meta"]["hostvars"]
        arguments = shlex.split(hosts["cp1"]["ansible_ssh_common_args"])
        key = hosts["cp1"]["ansible_ssh_private_key_file"]
        yield directory, server, ["ssh", "-F", os.devnull, "-o", "BatchMode=yes", *arguments, "-o",
                                  f'IdentityFile="{key}"', "-p", str(server.port), "127.0.0.1", "true"]


def test_ssh_reaches_a_pinned_host_through_a_pinned_jump_host(behind_itself: Any) -> None:
    directory, server, command = behind_itself
    (directory / ".kubewright" / "known_hosts").write_text(server.known_hosts, encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert server.log.count("Accepted publickey") == 2


def test_ssh_refuses_a_jump_host_that_is_not_pinned(behind_itself: Any) -> None:
    directory, _, command = behind_itself
    (directory / ".kubewright" / "known_hosts").write_text("", encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr
