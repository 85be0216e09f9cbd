"""The texts and calls that make a node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.errors import InventoryRefused
from provisioner.lab import cgroups, lifecycle, mounts, network, nodes
from provisioner.lab.instance import Instance, LabNetwork, lab_network, locked, require_lab, write_file
from provisioner.lab.nodes import NodeSpec
from provisioner.model.cluster import Cluster
from provisioner.model.inventory import Inventory

LAB = Instance("lab")
PLACE = LabNetwork("10.77.0.1", 24)
SPEC = NodeSpec("cp1", "10.77.0.11", "admin", 22, "abc")
REPOSITORY = Path(__file__).resolve().parents[3]


def cluster(**changes: object) -> Cluster:
    values: dict[str, object] = {
        "version": 1, "cluster": "lab", "lab": True, "kubernetes": "1.36.3", "network": {"hosts": ["10.77.0.0/24"]},
        "api": {"vip": "10.77.0.10"}, "hosts": {"cp1": {"address": "10.77.0.11", "roles": []}}}
    return Cluster.model_validate(values | changes)


def test_a_node_cannot_set_the_machines_clock() -> None:
    line = nodes.command_line(LAB, "cp1")
    assert "--drop-capability=CAP_SYS_TIME" in line
    assert not [part for part in line if part.startswith("--capability=") and "TIME" in part]


def test_a_node_can_run_containers() -> None:
    line = nodes.command_line(LAB, "cp1")
    assert "--capability=all" in line
    assert any(part.startswith("--system-call-filter=@keyring") for part in line)
    for inside in ("/var/lib/containerd", "/var/lib/kubelet"):
        assert any(part.startswith("--bind=/var/lib/kubewright-lab/lab/nodes/cp1/") and part.endswith(f":{inside}")
                   for part in line)


def test_devices_are_shared_and_kernel_modules_only_to_be_read() -> None:
    line = nodes.command_line(LAB, "cp1", shared=["/dev/kmsg", "/lib/modules"])
    assert "--bind=/dev/kmsg" in line and "--bind-ro=/lib/modules" in line and "--bind=/dev/fuse" not in line


def test_two_instances_share_no_name() -> None:
    one, other = Instance("a"), Instance("a-b")
    assert one.machine("b-c") != other.machine("c")
    assert one.namespace != other.namespace and one.state_dir != other.state_dir


def test_a_node_gets_the_inventorys_address_and_the_bridge_as_gateway() -> None:
    files = nodes.identity_files(SPEC, PLACE)
    assert files["/etc/lab-node/address"] == "10.77.0.11/24 10.77.0.1\n"
    assert files["/etc/hostname"] == "cp1\n"
    assert files["/etc/apt/sources.list"] == "deb [trusted=yes] http://10.77.0.1/debian-12 ./\n"


def test_every_node_has_a_machine_id_of_its_own() -> None:
    ids = {nodes.identity_files(SPEC, PLACE)["/etc/machine-id"] for _ in range(5)}
    assert len(ids) == 5 and all(len(i.strip()) == 32 for i in ids)


def test_the_bridge_takes_the_first_address_and_has_no_way_out() -> None:
    assert lab_network(cluster()) == PLACE
    commands = network.setup_commands(PLACE)
    assert ("ip", "address", "add", "10.77.0.1/24", "dev", "lab0") in commands
    assert ("ip", "route", "add", "unreachable", "default") in commands


def test_ssh_believes_only_the_labs_pins_and_quotes_the_command() -> None:
    call = nodes.ssh_command(Path("/i/known_hosts"), Path("/i/key"), SPEC, ["echo", "a  b", "$HOME"])
    assert "StrictHostKeyChecking=yes" in call and "UserKnownHostsFile=/i/known_hosts" in call
    assert call[:3] == ["ssh", "-F", "none"]
    assert call[-1] == "sudo -n -- echo 'a  b' '$HOME'"


def test_root_needs_no_sudo() -> None:
    spec = NodeSpec("cp1", "10.77.0.11", "root", 22, "abc")
    assert nodes.ssh_command(Path("k"), Path("i"), spec, ["true"])[-1] == "true"


def test_real_machines_are_refused() -> None:
    with pytest.raises(InventoryRefused, match="real ones"):
        require_lab(cluster(lab=False), Path("cluster.yaml"))


def test_a_host_on_the_bridges_address_or_outside_the_network_is_refused() -> None:
    hosts = {"a": {"address": "10.77.0.1", "roles": []}, "b": {"address": "10.78.0.1", "roles": []}}
    with pytest.raises(InventoryRefused) as caught:
        require_lab(cluster(hosts=hosts), Path("cluster.yaml"))
    assert len(caught.value.details) == 2


def test_the_labs_own_inventory_is_one_that_the_lab_accepts() -> None:
    inventory = Inventory.open(REPOSITORY / "inventories/lab")
    assert lifecycle.instance_of(inventory).name == inventory.cluster.cluster


def test_half_written_node_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    instance = Instance("lab", tmp_path)
    spec_file = nodes.paths(instance, "cp1").spec_file
    spec_file.parent.mkdir(parents=True)
    spec_file.write_text('{"name": "cp1", "addr')
    assert nodes.read_spec(instance, "cp1") is None
    spec_file.write_text('{"name": "cp1"}')
    assert nodes.read_spec(instance, "cp1") is None


def test_hierarchies_of_a_hybrid_machine_are_all_found() -> None:
    text = ("31 30 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
            "32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
            "33 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            "34 31 0:30 / /srv/other rw - cgroup cgroup rw\n")
    assert cgroups.parse_hierarchies(text) == (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/unified"))


@pytest.mark.parametrize(("line", "expected"), [
    ("0::/kubewright-lab/cp1", True), ("4:memory:/kubewright-lab/cp1/payload/x.slice", True),
    ("0::/kubewright-lab/cp10", False), ("0::/kubewright-lab2/cp1", False), ("0::/", False), ("", False)])
def test_only_processes_below_the_nodes_own_cgroup_are_the_nodes(line: str, expected: bool) -> None:
    assert cgroups.is_member(f"9:name=systemd:/\n{line}\n", LAB, "cp1") is expected


def test_memory_counts_what_cannot_be_dropped() -> None:
    assert nodes.droppable("cache 1\nshmem 1\ntotal_cache 500\ntotal_shmem 100\n") == 400
    assert nodes.droppable("file 500\nshmem 100\n") == 400


def test_mounts_come_off_from_the_deepest_up_and_neighbours_stay() -> None:
    text = "".join(f"{n} 1 0:1 / {point} rw - x x rw\n" for n, point in enumerate(
        ("/lab/a", "/lab/a/root", "/lab/a/root/proc", "/lab/ab", r"/lab/a/with\040blank")))
    points = mounts.parse_mountinfo(text)
    assert mounts.below(points, Path("/lab/a")) == (
        "/lab/a/with blank", "/lab/a/root/proc", "/lab/a/root", "/lab/a")


def test_a_tree_with_a_mount_in_it_is_never_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node/root").mkdir(parents=True)
    (tmp_path / "node/root/precious").write_text("x")
    monkeypatch.setattr(mounts, "unmount_below", lambda directory: 0)
    monkeypatch.setattr(mounts, "mounted_below", lambda directory: (f"{directory}/root",))
    with pytest.raises(Exception, match="still mounted"):
        mounts.remove_tree(tmp_path / "node")
    assert (tmp_path / "node/root/precious").exists()


def test_a_written_file_has_its_mode_from_the_start_and_leaves_no_rest(tmp_path: Path) -> None:
    write_file(tmp_path / "a/secret", "x", 0o600)
    assert (tmp_path / "a/secret").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["secret"]


def test_two_verbs_on_one_instance_exclude_each_other(tmp_path: Path) -> None:
    instance = Instance("lab", tmp_path)
    with locked(instance), pytest.raises(Exception, match="another lab command"), locked(instance, 0.3):
        pytest.fail("both hold the instance")
    with locked(instance, 0.3):
        pass


def test_nodes_of_a_dual_stack_inventory_have_an_address_of_either_family_and_the_bridge_too() -> None:
    ranges = {"hosts": ["10.77.0.0/24", "fd77::/64"], "pods": ["10.244.0.0/16", "fd77:244::/56"],
              "services": ["10.96.0.0/16", "fd77:96::/112"]}
    place = lab_network(cluster(network=ranges))
    assert (place.gateway, place.second_gateway, place.second_prefix) == ("10.77.0.1", "fd77::1", 64)
    assert ("ip", "address", "add", "fd77::1/64", "dev", "lab0", "nodad") in network.setup_commands(place)
    text = nodes.identity_files(replace(SPEC, second="fd77::11"), place)[network.SECOND_FILE]
    assert "address replace fd77::11/64 dev host0" in text and "default via fd77::1" in text
    assert network.SECOND_FILE not in nodes.identity_files(SPEC, PLACE)
