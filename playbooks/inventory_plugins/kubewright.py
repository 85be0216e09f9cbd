"""Ansible's view of cluster.yaml: the same file, read and validated by the same code, so the two cannot differ."""

from __future__ import annotations

import hashlib
import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

_CHECKOUT = Path(__file__).resolve().parents[2]
if (_CHECKOUT / "provisioner" / "model").is_dir() and str(_CHECKOUT) not in sys.path:
    sys.path.append(str(_CHECKOUT))  # a checkout that is not installed; an installed kubewright is found first

from provisioner.errors import KubewrightError  # noqa: E402
from provisioner.model.cluster import Host, Role, Ssh  # noqa: E402
from provisioner.model.inventory import FILE_NAME, Inventory  # noqa: E402

DOCUMENTATION = """
name: kubewright
short_description: The hosts of a kubewright cluster.yaml
description:
  - Reads the inventory of kubewright. Every role is a group, with C(_) for C(-).
  - Host keys are checked against the cluster's own C(known_hosts) and nothing else.
options: {}
"""

_PYTHON = "/usr/bin/python3"  # what `python3` of the applier is too; discovery would cost each host a round trip


class InventoryModule(BaseInventoryPlugin):
    """The plugin, chosen by the file's name."""

    NAME = "kubewright"

    def verify_file(self, path: str) -> bool:
        """Take a file called cluster.yaml."""
        return Path(path).name == FILE_NAME and bool(super().verify_file(path))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add every host with its groups and how to log in; a wrong file is refused with all its faults."""
        super().parse(inventory, loader, path, cache)
        try:
            ours = Inventory.open(path)
        except KubewrightError as err:
            raise AnsibleParserError("\n".join((err.message, *err.details))) from err
        for role in Role:
            inventory.add_group(_group(role))
        for host in ours.cluster.machines:
            inventory.add_host(host.name)
            for role in sorted(host.roles):
                inventory.add_host(host.name, group=_group(role))
            for name, value in _variables(ours, host).items():
                inventory.set_variable(host.name, name, value)


def _group(role: str) -> str:
    return role.replace("-", "_")


def _variables(inventory: Inventory, host: Host) -> dict[str, Any]:
    ssh = inventory.cluster.ssh_of(host.name)
    key = inventory.ssh_key_of(host.name)
    return {
        "ansible_host": host.address,
        "ansible_port": ssh.port,
        "ansible_user": ssh.user,
        "ansible_become": ssh.become == "sudo",
        "ansible_become_method": "sudo",
        "ansible_python_interpreter": _PYTHON,
        "ansible_ssh_common_args": shlex.join(_ssh_options(inventory, ssh, key)),
        "ansible_control_path": _control_path(inventory, host),
        **({"ansible_ssh_private_key_file": _escaped(key)} if key else {}),
    }


def _ssh_options(inventory: Inventory, ssh: Ssh, key: Path | None) -> list[str]:
    options = _options(StrictHostKeyChecking="yes", UserKnownHostsFile=_quoted(inventory.known_hosts_path),
                       GlobalKnownHostsFile="/dev/null")
    if key:
        options += _options(IdentitiesOnly="yes")
    if ssh.jump:
        # ssh does not hand its options on to a ProxyJump, so the jump host's key would be checked by other rules.
        options += _options(ProxyCommand=shlex.join(_jump_command(ssh, options, key)))
    return options


def _jump_command(ssh: Ssh, options: list[str], key: Path | None) -> list[str]:
    target, _, port = str(ssh.jump).partition(":")
    target = target if "@" in target else f"{ssh.user}@{target}"
    identity = _options(IdentityFile=_quoted(key)) if key else []
    words = ["ssh", "-F", "none", "-o", "BatchMode=yes", *options, *identity, *(["-p", port] if port else [])]
    return [*(word.replace("%", "%%") for word in words), "-W", "[%h]:%p", target]  # the outer ssh expands `%` once


def _options(**values: str) -> list[str]:
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]


def _quoted(path: Path) -> str:
    """Write a path for ssh's own parser, which splits at blanks and expands `%`."""
    return f'"{_escaped(path)}"'


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


def _control_path(inventory: Inventory, host: Host) -> str:
    """Name the shared connection by inventory and host: two labs have equal addresses, sockets 108 bytes at most."""
    digest = hashlib.sha256(f"{inventory.path}\n{host.name}".encode()).hexdigest()
    return f"%(directory)s/{digest[:12]}"
