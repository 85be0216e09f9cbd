"""The lab's own promises, on real nodes of an instance of its own: idempotent, survives kill -9, leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.errors import RefusedForSafety
from provisioner.lab import keeping, lifecycle, mounts, network, nodes, processes, state
from provisioner.lab.cgroups import hierarchies
from provisioner.lab.instance import Instance
from provisioner.lab.network import in_network
from provisioner.model.inventory import Inventory

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
NAME = "verbs"
INVENTORY = f"""version: 1
cluster: {NAME}
lab: true
kubernetes: "1.36.3"
network: {{hosts: [10.77.0.0/24]}}
api: {{vip: 10.77.0.10}}
ssh: {{user: admin}}
hosts:
  cp1: {{address: 10.77.0.11, roles: [etcd, control-plane, load-balancer]}}
  w1: {{address: 10.77.0.21, roles: [worker]}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """The inventory of the instance, which is taken down in the end."""
    directory = tmp_path_factory.mktemp("verbs")
    (directory / "cluster.yaml").write_text(INVENTORY)
    found = Inventory.open(directory)
    yield found
    lifecycle.down(found, print)


@pytest.fixture
def inventory(place: Inventory) -> Inventory:
    """Its nodes run, whatever the test before did to them."""
    lifecycle.up(place, print)
    return place


def on(inventory: Inventory, host: str, *command: str) -> subprocess.CompletedProcess[str]:
    call = in_network(Instance(NAME), lifecycle.access(inventory, host, command))
    return subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)


def pids(inventory: Inventory) -> dict[str, int | None]:
    return {row.name: row.pid for row in lifecycle.status(inventory)}


def rests() -> list[str]:
    """Return everything on this machine that bears the instance's name."""
    instance = Instance(NAME)
    groups = [str(root / instance.namespace) for root in hierarchies() if (root / instance.namespace).exists()]
    running = [str(pid) for pid in _all_of_the_lab()]
    files = [str(p) for p in (instance.state_dir, network.namespace_path(NAME)) if p.exists()]
    return groups + running + files + list(mounts.mounted_below(instance.state_dir)) + [
        str(p) for p in state.NSPAWN_RUNTIME.glob(f"{NAME}.*")]


def _names_instance(process: Path, instance: Instance) -> bool:
    try:
        return str(instance.state_dir).encode() + b"/" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def test_a_second_up_leaves_running_nodes_alone(inventory: Inventory) -> None:
    before = pids(inventory)
    assert lifecycle.up(inventory, print).left == ("cp1", "w1")
    assert pids(inventory) == before


def test_nodes_are_machines_a_cluster_can_run_on(inventory: Inventory) -> None:
    assert on(inventory, "cp1", "systemctl", "is-system-running", "--wait").stdout.strip() == "running"
    assert on(inventory, "cp1", "sysctl", "-w", "net.ipv4.ip_forward=1").returncode == 0
    assert on(inventory, "cp1", "date", "-s", "2020-01-01").returncode != 0
    assert on(inventory, "cp1", "which", "haproxy", "runc").returncode != 0
    assert on(inventory, "cp1", "findmnt", "-no", "PROPAGATION", "/").stdout.strip() == "shared"
    assert on(inventory, "cp1", "sh", "-c", "exit 7").returncode == 7


def test_packages_come_from_the_labs_own_repository(inventory: Inventory) -> None:
    done = on(inventory, "w1", "sh", "-c", "apt-get -q update && apt-get -qy install conntrack && conntrack --version")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "W:" not in done.stderr


def test_a_node_reboots(inventory: Inventory) -> None:
    boot = on(inventory, "w1", "cat", "/proc/sys/kernel/random/boot_id").stdout
    on(inventory, "w1", "systemctl", "reboot")
    assert processes.wait_until(
        lambda: on(inventory, "w1", "cat", "/proc/sys/kernel/random/boot_id").stdout not in ("", boot), 60, 0.2)


def test_up_repairs_what_a_kill_of_everything_left_and_disks_survive_it(inventory: Inventory) -> None:
    on(inventory, "w1", "touch", "/root/kept")
    for pid in _all_of_the_lab():
        with contextlib.suppress(ProcessLookupError):       # some die of another's death
            os.kill(pid, signal.SIGKILL)
    assert processes.wait_until(lambda: not nodes.is_running(Instance(NAME), "w1"), 10)
    assert lifecycle.up(inventory, print).booted == ("cp1", "w1")
    assert on(inventory, "w1", "test", "-e", "/root/kept").returncode == 0


def _all_of_the_lab() -> list[int]:
    instance = Instance(NAME)
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _names_instance(p, instance)]


def test_reset_gives_fresh_nodes_with_new_host_keys(inventory: Inventory) -> None:
    on(inventory, "w1", "touch", "/root/gone")
    pinned = inventory.known_hosts_path.read_text()
    lifecycle.reset(inventory, print, ["w1"])
    assert on(inventory, "w1", "test", "-e", "/root/gone").returncode != 0
    assert inventory.known_hosts_path.read_text().splitlines()[0] == pinned.splitlines()[0]
    assert inventory.known_hosts_path.read_text() != pinned


def put(inventory: Inventory, text: str) -> None:
    """Write the same word to each kind of place that a node has: its disk, and a directory bound from this machine."""
    for host in ("cp1", "w1"):
        assert on(inventory, host, "sh", "-c", f"echo {text} | tee /root/word > /var/lib/kubelet/word").returncode == 0


def words(inventory: Inventory) -> set[str]:
    return {on(inventory, host, "cat", path).stdout.strip()
            for host in ("cp1", "w1") for path in ("/root/word", "/var/lib/kubelet/word")}


@pytest.fixture
def kept(inventory: Inventory) -> Iterator[Inventory]:
    """The snapshot `one` was taken, and the nodes have changed since."""
    put(inventory, "before")
    keeping.snapshot(inventory, "one", print)
    assert words(inventory) == {"before"}, "running nodes run again, and are what they were"
    put(inventory, "after")
    yield inventory
    lifecycle.up(inventory, print)
    keeping.remove(inventory, "one", print)


def test_nodes_come_back_as_they_were_in_a_snapshot(kept: Inventory) -> None:
    assert keeping.restore(kept, "one", print).booted == ("cp1", "w1")
    assert words(kept) == {"before"}
    on(kept, "cp1", "rm", "/root/word")
    keeping.snapshot(kept, "two", print)
    assert words(kept) == {"", "before"}, "what was deleted stays deleted, whatever lies below"
    keeping.remove(kept, "two", print)


@pytest.mark.full
def test_a_snapshot_of_another_state_is_refused_in_words_and_no_node_is_touched(kept: Inventory) -> None:
    before, text = pids(kept), kept.file.read_text()
    kept.file.write_text(text.replace("10.77.0.21", "10.77.0.29"))
    try:
        with pytest.raises(RefusedForSafety) as refused:
            keeping.restore(Inventory.open(kept.path), "one", print)
    finally:
        kept.file.write_text(text)
    assert refused.value.details == ("w1: address, user, SSH port or system changed in the inventory since",)
    assert pids(kept) == before and words(kept) == {"after"}


@pytest.mark.full
@pytest.mark.parametrize(("verb", "came"), [("restore", {"before"}), ("snapshot", {"after"})])
def test_killed_in_the_middle_the_next_up_leaves_nothing_half(kept: Inventory, verb: str, came: set[str]) -> None:
    for delay in (0.7, 1.1, 1.5):
        if verb == "restore":
            put(kept, "after")
        process = subprocess.Popen([sys.executable, "-m", "provisioner.cli.main", "-i", str(kept.path), "lab", verb,
                                    "one"], start_new_session=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        lifecycle.up(kept, print)
        assert words(kept) in (came, {"after"}), "all nodes are of one moment"
    keeping.restore(kept, "one", print)
    assert len(words(kept)) == 1
    rests = {p.name.partition(".")[0] for p in (Instance(NAME).state_dir / "snapshots").iterdir()}
    assert rests == {"one"}


def test_down_leaves_nothing_and_neighbours_live(inventory: Inventory) -> None:
    neighbour = subprocess.Popen(["sleep", "60"])
    inside = subprocess.Popen(in_network(Instance(NAME), ["sleep", "60"]))
    on(inventory, "w1", "systemd-run", "-p", "KillMode=none", "sh", "-c", "trap '' TERM HUP; while :; do sleep 1; done")
    try:
        lifecycle.down(inventory, print)
        assert rests() == []
        assert inside.wait(timeout=5) == -signal.SIGKILL
        assert neighbour.poll() is None
        lifecycle.down(inventory, print)
    finally:
        neighbour.kill()
        neighbour.wait()


def test_down_after_a_killed_up_leaves_nothing(inventory: Inventory) -> None:
    lifecycle.down(inventory, print)
    for delay in (0.4, 0.8, 1.2):
        up = subprocess.Popen([sys.executable, "-m", "provisioner.cli.main", "-i", str(inventory.path), "lab", "up"],
                              start_new_session=True)
        with pytest.raises(subprocess.TimeoutExpired):
            up.wait(timeout=delay)
        os.killpg(up.pid, signal.SIGKILL)
        up.wait()
        lifecycle.down(inventory, print)
        assert rests() == []
