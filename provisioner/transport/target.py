"""How each machine is reached: the inventory's `ssh` sections as one frozen value a host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.model.endpoint import SSH_PORT, Endpoint, known_hosts_name

if TYPE_CHECKING:
    from provisioner.model.inventory import Inventory



@dataclass(frozen=True)
class Hop:
    """One place that sshd listens on; a jump host is only this."""

    user: str
    address: str
    port: int = SSH_PORT

    def __str__(self) -> str:
        return f"{self.user}@{self.place}"

    @property
    def place(self) -> Endpoint:
        """Return where sshd listens."""
        return Endpoint(self.address, self.port)

    @property
    def login(self) -> str:
        """Return the place as OpenSSH's commands take it."""
        port = "" if self.port == SSH_PORT else f"-p {self.port} "
        return f"{port}{self.user}@{self.address}"

    @property
    def known_hosts_name(self) -> str:
        """Return the name that this place has in a known_hosts file, as OpenSSH writes it."""
        return known_hosts_name(self.address, self.port)

    @classmethod
    def parse(cls, text: str, default_user: str) -> Hop:
        """Read `[USER@]HOST[:PORT]`; the inventory's loader has refused what is not of that form."""
        user, _, place = text.rpartition("@")
        there = Endpoint.parse(place, SSH_PORT)
        return cls(user or default_user, there.host, there.port)


@dataclass(frozen=True)
class Target:
    """Everything that a login needs; nothing is read from ~/.ssh/config or the environment.

    `address` is where one logs in, a name or an address, which may be none that the cluster speaks at.
    """

    name: str
    address: str
    port: int
    user: str
    become: str
    key_file: Path | None
    known_hosts_file: Path
    jump: Hop | None = None
    password: str | None = field(default=None, repr=False, compare=False)       # what sudo is told where it may ask

    @property
    def hop(self) -> Hop:
        """Return the place itself, without the way to it."""
        return Hop(self.user, self.address, self.port)

    @property
    def elevates(self) -> bool:
        """Say whether commands go through sudo: root needs none."""
        return self.become == "sudo" and self.user != "root"


def targets_of(inventory: Inventory) -> dict[str, Target]:
    """Return a target for every machine, per-host `ssh` before the cluster's.

    Who is to be asked for sudo's password (`--ask-become`) is asked here, if any of them needs it.
    """
    targets = {}
    for host in inventory.cluster.machines:
        ssh = inventory.cluster.ssh_of(host.name)
        targets[host.name] = Target(
            name=host.name,
            address=ssh.host,
            port=ssh.port,
            user=ssh.user,
            become=ssh.become,
            key_file=inventory.ssh_key_of(host.name),
            known_hosts_file=inventory.known_hosts_path,
            jump=Hop.parse(ssh.jump, ssh.user) if ssh.jump else None,
        )
    if inventory.ask_become is None or not any(target.elevates for target in targets.values()):
        return targets
    password = inventory.ask_become()
    return {name: replace(target, password=password) if target.elevates else target
            for name, target in targets.items()}
