"""Who of etcd's members waits for whom when nodes get their power at one moment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.lab import boot_order, disks, nodes
from provisioner.lab.instance import Instance
from provisioner.model.inventory import Inventory
from tests.fakes.sshd import free_port

CLUSTER = Inventory.open(Path(__file__).resolve().parents[3] / "inventories/lab").cluster
CP1, CP2 = "10.77.0.11", "10.77.0.12"


@pytest.mark.parametrize(("host", "booting", "waits_for"), [
    ("cp1", ("cp1", "cp2", "cp3", "w1"), ()),
    ("cp3", ("cp1", "cp2", "cp3", "w1"), (CP1, CP2)),
    ("cp3", ("cp3", "cp2"), (CP2,)),
    ("cp3", ("cp3",), ()),                  # alone: the others serve already, or are not coming
    ("w1", ("cp1", "w1"), ()),
])
def test_a_member_waits_for_those_before_it_that_boot_with_it(
    host: str, booting: tuple[str, ...], waits_for: tuple[str, ...],
) -> None:
    assert boot_order.earlier(CLUSTER, host, booting) == waits_for


def test_a_node_that_waits_for_nobody_or_never_was_a_member_boots_as_any_other(tmp_path: Path) -> None:
    instance = Instance("lab", tmp_path)
    for host in ("cp1", "cp2"):
        layer = disks.add_layer(instance, host)
        nodes.write_spec(instance, nodes.NodeSpec(host, CP1, "admin", 22, "image", (layer,)))
    assert boot_order.bind(instance, CLUSTER, "cp2", ("cp1", "cp2")) == (), "its disk is empty"
    for made in disks.layers_dir(instance).iterdir():
        (disks.upper(instance, made.name) / boot_order.DATA).mkdir(parents=True)
    assert boot_order.bind(instance, CLUSTER, "cp1", ("cp1", "cp2")) == ()
    (option,) = boot_order.bind(instance, CLUSTER, "cp2", ("cp1", "cp2"))
    file, inside = option.removeprefix("--bind-ro=").split(":")
    assert inside.startswith("/run/systemd/system/etcd.service.d/")
    assert CP1 in Path(file).read_text()


def test_the_command_waits_once_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed here; the lab's image has it")
    monkeypatch.setattr(boot_order, "ONCE", str(tmp_path / "once"))
    monkeypatch.setattr(boot_order, "LOOKS", 2)
    monkeypatch.setattr(boot_order, "ETCD_PEER", free_port())
    text = boot_order.drop_in(["127.0.0.1"]).replace("\\\n", "").replace("$$", "$")
    command = text.partition("/bin/sh -c '")[2].rpartition("'")[0]
    for _ in range(2):
        assert subprocess.run(["sh", "-c", command], timeout=20, check=False).returncode == 0
    assert (tmp_path / "once").is_dir()
