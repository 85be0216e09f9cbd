"""The box for libvirt: its first sector, what its machines have, its file. It is built whole by the test on a VM."""

from __future__ import annotations

import json
import os
import struct
import tarfile
from pathlib import Path

import pytest

from provisioner.errors import PreflightRefused
from provisioner.lab import box, image


def test_the_first_sector_is_grubs_and_names_one_partition_that_boots() -> None:
    sector = box.boot_record(bytes(range(256)) * 2, first=2048, sectors=1000)
    assert len(sector) == 512 and sector[:446] == (bytes(range(256)) * 2)[:446] and sector[510:] == b"\x55\xaa"
    flag, _, kind, _, first, sectors = struct.unpack("<B3sB3sII", sector[446:462])
    assert (flag, kind, first, sectors) == (0x80, 0x83, 2048, 1000)
    assert sector[462:510] == bytes(48), "three partitions that are none"


def test_what_boots_finds_the_file_system_by_the_name_that_it_gets() -> None:
    assert f"root=LABEL={box.LABEL} " in box.GRUB_CFG and box.FILES["etc/fstab"].startswith(f"LABEL={box.LABEL} / ")


def test_a_machine_has_all_that_a_lab_node_has_and_a_kernel() -> None:
    assert set(image.PACKAGES) < set(box.PACKAGES) and "linux-image-cloud-amd64" in box.PACKAGES
    command = box.bootstrap_command(Path("/target"), ['Acquire::Retries "3"'])
    assert command[-2:] == ["bookworm", "/target"] and '--aptopt=Acquire::Retries "3"' in command


def test_no_identity_is_in_the_box() -> None:
    assert box.FILES["etc/machine-id"] == "" and "ssh-keygen -A" in str(box.FILES)


THEIRS = sorted(Path("/usr/share/rubygems-integration").glob("all/gems/vagrant-*/keys/vagrant.pub"))


@pytest.mark.skipif(not THEIRS, reason="vagrant is not installed")
def test_the_key_that_opens_the_box_is_the_one_that_vagrant_has() -> None:
    assert box.VAGRANT_KEY.split()[:2] == THEIRS[-1].read_text(encoding="utf-8").split()[:2]


def test_the_file_is_what_vagrant_reads_as_a_box_of_libvirt(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"a disk")
    box._pack(tmp_path / "disk", tmp_path / "some.box")
    with tarfile.open(tmp_path / "some.box") as packed:
        texts = {name: packed.extractfile(name).read() for name in packed.getnames()}      # type: ignore[union-attr]
    told = json.loads(texts["metadata.json"])
    assert told == {"provider": "libvirt", "format": "qcow2", "virtual_size": box.DISK_GIB}
    assert texts["box.img"] == b"a disk" and b"Vagrant.configure" in texts["Vagrantfile"]


@pytest.mark.skipif(os.geteuid() != 0, reason="everybody else is refused before")
def test_a_machine_without_the_tools_is_told_all_packages_at_once(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PreflightRefused, match="mmdebstrap, mke2fs, qemu-img, chroot") as refused:
        box.build(tmp_path / "some.box", print, packages_inside=False)
    assert refused.value.hint == "apt-get install mmdebstrap e2fsprogs qemu-utils coreutils"
    assert list(tmp_path.iterdir()) == []
