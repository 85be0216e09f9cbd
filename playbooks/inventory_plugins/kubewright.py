"""Ansible's view of cluster.yaml: the same file, read and validated by the same code, so the two cannot differ."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

_CHECKOUT = Path(__file__).resolve().parents[2]
if (_CHECKOUT / "provisioner" / "model").is_dir() and str(_CHECKOUT) not in sys.path:
    sys.path.append(str(_CHECKOUT))  # a checkout that is not installed; an installed kubewright is found first

from provisioner.converge.hosts import ansible_vars  # noqa: E402
from provisioner.errors import KubewrightError  # noqa: E402
from provisioner.model.cluster import Role  # noqa: E402
from provisioner.model.inventory import FILE_NAME, Inventory  # noqa: E402
from provisioner.transport.target import targets_of  # noqa: E402

DOCUMENTATION = """
name: kubewright
short_description: The hosts of a kubewright cluster.yaml
description:
  - Reads the inventory of kubewright. Every role is a group, with C(_) for C(-).
  - Host keys are checked against the cluster's own C(known_hosts) and nothing else.
options: {}
"""


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
        targets = targets_of(ours)
        for host in ours.cluster.machines:
            inventory.add_host(host.name)
            for role in sorted(host.roles):
                inventory.add_host(host.name, group=_group(role))
            for name, value in ansible_vars(targets[host.name]).items():
                inventory.set_variable(host.name, name, value)


def _group(role: str) -> str:
    return role.replace("-", "_")
