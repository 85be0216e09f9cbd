"""Vagrant's machines as hosts: their host keys pinned through Vagrant itself, their private keys found.

The unit tests use a stand-in for its command; `tests/lab/test_virtual_machine.py` has a real machine of libvirt's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from provisioner.errors import InventoryRefused, PreflightRefused, Unreachable
from provisioner.lab import keys
from provisioner.lab.processes import run
from provisioner.model.inventory import Inventory

HOST_KEY_FILE = "/etc/ssh/ssh_host_ed25519_key.pub"
VAGRANT_SECONDS = 120.0


def parse_host_key(output: str) -> str:
    """Return the public key in what `vagrant ssh -c cat` printed (banners and carriage returns around it), or ''."""
    lines = (line.strip() for line in output.splitlines())
    return next((line for line in lines if line.startswith("ssh-ed25519 ")), "")


def choose_private_key(paths: Sequence[Path]) -> Path | None:
    """Return the newest of a machine's private keys: an earlier provider may have left an older one."""
    return max(paths, key=lambda path: path.stat().st_mtime, default=None)


def private_key(root: Path, name: str) -> Path | None:
    """Return the key that Vagrant made for a machine, whatever the provider is called; None before `vagrant up`."""
    return choose_private_key(tuple((root / ".vagrant" / "machines" / name).glob("*/private_key")))


def read_host_key(root: Path, inventory: Inventory, name: str) -> str:
    """Ask the machine for its host key over Vagrant's own connection, which is not open to others on the network."""
    output = run(["vagrant", "ssh", name, "--no-tty", "-c", f"cat {HOST_KEY_FILE}"], seconds=VAGRANT_SECONDS,
                 doing=f"reading the host key of {name}", directory=root,
                 environment={**os.environ, "KUBEWRIGHT_INVENTORY": str(inventory.path)})
    key = parse_host_key(output)
    if not key:
        raise Unreachable(f"{name}: reading its host key: vagrant printed no ssh-ed25519 key",
                          details=output.strip().splitlines()[-5:], hint=f"vagrant ssh {name}", code="vagrant-host-key")
    return key


def trust(inventory: Inventory, root: Path) -> tuple[str, ...]:
    """Pin every machine's host key and link its private key into the inventory; return what was pinned.

    All keys are read before anything is written, so a machine that is down changes nothing.
    """
    _require_vagrant_inventory(inventory, root)
    names = tuple(inventory.cluster.hosts)
    found = {name: private_key(root, name) for name in names}
    absent = [name for name, path in found.items() if path is None]
    if absent:
        raise PreflightRefused(f"{', '.join(absent)}: Vagrant has made no key for them in {root / '.vagrant'}",
                               hint="vagrant up", code="vagrant-not-up")
    public = {name: read_host_key(root, inventory, name) for name in names}
    logins = {name: inventory.cluster.ssh_of(name) for name in names}
    lines = tuple(keys.known_hosts_line(logins[name].host, logins[name].port, public[name]) for name in names)
    keys.pin(inventory.known_hosts_path, list(lines))
    for name, path in found.items():
        if path is not None:
            _link(inventory.state_dir / "vagrant" / name, path)
    return lines


def _require_vagrant_inventory(inventory: Inventory, root: Path) -> None:
    if inventory.cluster.lab:
        raise InventoryRefused(f"{inventory.file}: these are lab nodes; `lab up` pins their keys by itself",
                               hint="kubewright lab up", code="not-vagrant")
    if not (root / "Vagrantfile").is_file():
        raise PreflightRefused(f"this machine: finding Vagrant's machines: there is no Vagrantfile in {root}",
                               hint="kubewright trust    # for machines that are not Vagrant's", code="vagrant-no-file")


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
