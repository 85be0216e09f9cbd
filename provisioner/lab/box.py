"""A box for Vagrant's libvirt provider, made of Debian's packages: nobody else's image, no network needed to boot.

The disk is written without mounting anything: a file system made from a directory (`mke2fs -d`), and GRUB's two parts
in the sectors before it, where the BIOS and GRUB itself look for them (GRUB manual, "BIOS installation").
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from provisioner.errors import GateFailed, PreflightRefused
from provisioner.lab import image, requirements, sources
from provisioner.lab.mounts import remove_tree
from provisioner.lab.processes import run
from provisioner.model import families

BUILD_SECONDS = 1800.0
DISK_GIB = 16               # as the machine sees it; the file holds what is written
SECTOR, FIRST_SECTOR = 512, 2048
LABEL = "kubewright"
TOOLS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "qemu-img": "qemu-utils", "chroot": "coreutils"}
# Beside what the lab's nodes have: a kernel and what boots it, and what Vagrant sets names and addresses with.
PACKAGES = (*image.PACKAGES, "linux-image-cloud-amd64", "initramfs-tools", "zstd", "grub-pc-bin", "grub-common",
            "ifupdown", "isc-dhcp-client")
# The public half of the key that every Vagrant has; at its first login it puts one of its own in this one's place.
VAGRANT_KEY = (
    "ssh-rsa "
    "AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oX"
    "evct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWK"
    "n5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4"
    "LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ=="
    " vagrant insecure public key\n")
INSIDE = "srv/packages"     # where a box that has its packages with it keeps them
CORE = ("grub-mkimage", "--format=i386-pc", "--prefix=(hd0,msdos1)/boot/grub", "--output=/boot/grub/core.img",
        "biosdisk", "part_msdos", "ext2", "normal", "linux", "boot", "echo")
# mitigations=off: an emulated processor does not speculate, and each change of page tables costs it much.
GRUB_CFG = f"""set timeout=0
linux /vmlinuz root=LABEL={LABEL} rw quiet net.ifnames=0 mitigations=off console=tty0 console=ttyS0,115200
initrd /initrd.img
boot
"""
MIRROR = "http://deb.debian.org/debian"
FILES = {
    "boot/grub/grub.cfg": GRUB_CFG,
    "etc/fstab": f"LABEL={LABEL} / ext4 defaults,noatime 0 1\n",
    "etc/hostname": "box\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/machine-id": "",           # each machine makes its own at its first boot
    "etc/network/interfaces": "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n",
    "etc/sudoers.d/vagrant": "vagrant ALL=(ALL) NOPASSWD: ALL\n",
    # A host key that came with the box would be every machine's.
    "etc/systemd/system/ssh.service.d/host-keys.conf":
        "[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n",
    "etc/ssh/sshd_config.d/vagrant.conf": "UseDNS no\n",
    "etc/apt/sources.list": f"deb {MIRROR} bookworm main\ndeb {MIRROR} bookworm-updates main\n"
                            f"deb {MIRROR}-security bookworm-security main\n",
    "home/vagrant/.ssh/authorized_keys": VAGRANT_KEY,
}
_PRIVATE = {"etc/sudoers.d/vagrant": 0o440, "home/vagrant/.ssh/authorized_keys": 0o600}


def build(target: Path, say: Callable[[str], None], *, packages_inside: bool) -> None:
    """Write the box to `target`; with packages inside, its machines install what a cluster needs from themselves."""
    requirements.require_root()
    commands, packages = requirements.missing_tools(TOOLS, {name: shutil.which(name) is not None for name in TOOLS})
    if commands:
        raise PreflightRefused(f"this machine: building a box: not installed: {', '.join(commands)}",
                               hint=f"apt-get install {' '.join(packages)}", code="box-tools")
    building = Path(tempfile.mkdtemp(prefix=".box-", dir=target.parent))
    try:
        root = building / "root"
        say("a root file system from Debian's packages")
        _bootstrap(root)
        repository = image.ensure(say)[0].repository if packages_inside else None
        _finish(root, repository)
        say("a disk that boots")
        _write_disk(root, building / "disk")
        run(["qemu-img", "convert", "-c", "-O", "qcow2", str(building / "disk"), str(building / "box.img")],
            seconds=BUILD_SECONDS, doing="compressing the disk")
        _pack(building / "box.img", building / "packed")
        (building / "packed").rename(target)
    finally:
        remove_tree(building)


def bootstrap_command(root: Path, settings: Sequence[str]) -> list[str]:
    """Return the mmdebstrap call; its sources come on stdin, as this machine's own."""
    return image.bootstrap_command(root, settings, "amd64", families.DEFAULT.suite, PACKAGES)


def _bootstrap(root: Path) -> None:
    command = bootstrap_command(root, sources.read_transport_settings())
    try:
        done = image.mmdebstrap(command, families.DEFAULT.suite, BUILD_SECONDS, {})
    except subprocess.TimeoutExpired:
        raise GateFailed(f"this machine: building a box: mmdebstrap not done after {BUILD_SECONDS:.0f} s",
                         code="box-build") from None
    if done.returncode != 0:
        raise GateFailed(f"this machine: building a box: mmdebstrap: exit {done.returncode}",
                         details=(done.stdout + done.stderr).strip().splitlines()[-15:], hint="apt-get update",
                         code="box-build")


def _finish(root: Path, repository: Path | None) -> None:
    """Turn the bootstrapped root into a machine's: no identity, Vagrant's user, GRUB's core."""
    for path in (*root.glob("etc/ssh/ssh_host_*"), *root.glob("etc/apt/sources.list.d/*"),
                 *root.glob("etc/apt/apt.conf.d/99mmdebstrap"), root / "etc/resolv.conf"):
        path.unlink(missing_ok=True)
    _inside(root, "useradd", "--create-home", "--shell", "/bin/bash", "vagrant")
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(_PRIVATE.get(name, 0o644))
    (root / "home/vagrant/.ssh").chmod(0o700)
    _inside(root, "chown", "--recursive", "vagrant:vagrant", "/home/vagrant/.ssh")
    if repository:
        shutil.copytree(repository, root / INSIDE)
        (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:/{INSIDE} ./\n")
    _inside(root, *CORE)


def _inside(root: Path, *command: str) -> None:
    run(["chroot", str(root), *command], doing="building a box",
        environment=os.environ | {"PATH": "/usr/sbin:/usr/bin"})


def _write_disk(root: Path, disk: Path) -> None:
    """Write boot record, GRUB and the file system into a file with holes."""
    with disk.open("wb") as file:
        file.truncate(DISK_GIB * 2**30)
    blocks = (DISK_GIB * 2**30 - FIRST_SECTOR * SECTOR) // 4096
    run(["mke2fs", "-q", "-t", "ext4", "-L", LABEL, "-b", "4096", "-d", str(root), "-E",
         f"offset={FIRST_SECTOR * SECTOR},lazy_itable_init=1,lazy_journal_init=1", str(disk), str(blocks)],
        seconds=BUILD_SECONDS, doing="writing the file system of a box")
    core = (root / "boot/grub/core.img").read_bytes()
    first = boot_record((root / "usr/lib/grub/i386-pc/boot.img").read_bytes(), FIRST_SECTOR,
                        DISK_GIB * 2**30 // SECTOR - FIRST_SECTOR)
    if len(core) > (FIRST_SECTOR - 1) * SECTOR:
        raise GateFailed(f"this machine: building a box: GRUB's core of {len(core)} bytes does not fit before the "
                         "file system", code="box-build")
    with disk.open("r+b") as file:
        file.write(first + core)


def boot_record(code: bytes, first: int, sectors: int) -> bytes:
    """Return the first sector: GRUB's `boot.img`, which loads the next one, and one Linux partition that boots."""
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", first, sectors)
    return code[:446] + entry + bytes(48) + b"\x55\xaa"


def _pack(disk: Path, target: Path) -> None:
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK_GIB}
    with tarfile.open(target, "w") as box:
        for name, text in (("metadata.json", json.dumps(metadata)), ("Vagrantfile", VAGRANTFILE)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            box.addfile(member, io.BytesIO(text.encode()))
        box.add(disk, "box.img")


# What a machine of this box has whatever Vagrantfile names it.
VAGRANTFILE = """Vagrant.configure("2") do |config|
  config.vm.guest = :debian
  config.ssh.shell = "bash"
end
"""
