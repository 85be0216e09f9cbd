"""The inventory as Ansible reads it: the same logins as transport's, key for key."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from provisioner.transport.target import Target


def ansible_inventory(targets: Mapping[str, Target], **common: str) -> dict[str, Any]:
    """Return a static inventory of these hosts, with the variables `common` to all of them."""
    return {"all": {"hosts": {name: ansible_vars(target) for name, target in targets.items()}, "vars": common}}


def inventory_text(inventory: Mapping[str, Any]) -> str:
    """Return an inventory as the YAML file that Ansible reads.

    Every text in it is marked `!unsafe`, or Ansible would run the template in the name of a key or a directory.
    """
    return yaml.dump(_marked(inventory), Dumper=_Dumper, width=10_000)


class _Text(str):
    """A text that is no template."""


class _Dumper(yaml.SafeDumper):
    """Writes such texts so that Ansible knows."""


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"'))


def _marked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _marked(one) for name, one in value.items()}
    return _Text(value) if isinstance(value, str) else value


def ansible_vars(target: Target) -> dict[str, Any]:
    """Return the variables that make Ansible's ssh log in exactly as transport does: same key, same pinned hosts."""
    values: dict[str, Any] = {
        "ansible_host": target.address,
        "ansible_port": target.port,
        "ansible_user": target.user,
        "ansible_become": target.elevates,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_control_path": f"%(directory)s/{socket_name(target)}",
        "ansible_ssh_common_args": shlex.join(_ssh_options(target) + _proxy(target)),
    }
    if target.key_file is not None:
        values["ansible_ssh_private_key_file"] = str(target.key_file).replace("%", "%%")
    return values


def socket_name(target: Target) -> str:
    """Name a host's shared login by all that it depends on, the name too: sshd counts the sessions of one login."""
    return hashlib.sha256(repr(target).encode()).hexdigest()[:12]


def _ssh_options(target: Target) -> list[str]:
    options = ["-o", "StrictHostKeyChecking=yes", *_option("UserKnownHostsFile", target.known_hosts_file),
               "-o", "GlobalKnownHostsFile=/dev/null"]
    return options if target.key_file is None else [*options, "-o", "IdentitiesOnly=yes"]


def _option(name: str, path: Path) -> list[str]:
    value = str(path).replace("%", "%%")
    return ["-o", f'{name}="{value}"']      # ssh splits the value at blanks and expands %


def _proxy(target: Target) -> list[str]:
    """Spell ProxyJump out: ssh hands none of our options to the jump host's own ssh."""
    if target.jump is None:
        return []
    jump = target.jump
    command = ["ssh", "-F", "none", *_ssh_options(target), "-o", "BatchMode=yes", "-o", "ConnectTimeout=15"]
    if target.key_file is not None:
        command += _option("IdentityFile", target.key_file)
    command = [word.replace("%", "%%") for word in command]     # expanded once more, as a part of ProxyCommand
    command += ["-p", str(jump.port), "-l", jump.user, "-W", "[%h]:%p", "--", jump.address]
    return ["-o", f"ProxyCommand={shlex.join(command)}"]
