"""What every reader of another tool's inventory has in common: what came of it, and how its values are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, NoReturn

from provisioner.errors import UsageFault
from provisioner.model.endpoint import SSH_PORT, bracketed
from provisioner.model.first_inventory import Login


@dataclass(frozen=True)
class Imported:
    """The machines of another tool's inventory; `left_out` names, a line each, what has no place in ours."""

    tool: str
    machines: tuple[Login, ...]
    left_out: tuple[str, ...] = ()
    name: str = ""
    external: str = ""
    vip: str = ""
    jump: str = ""
    pods: str = ""
    services: str = ""


class LeftOut:
    """Collects what has no place in ours: a line for each thing, with the hosts that have it."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[str, str], list[str]] = {}

    def add(self, what: str, why: str = "", host: str = "") -> None:
        """Note a thing, of one host or of the cluster."""
        self._hosts.setdefault((what, why), []).extend([host] if host else [])

    @property
    def lines(self) -> tuple[str, ...]:
        """Return a line for each."""
        return tuple(what + (f" (of {', '.join(hosts)})" if hosts else "") + (f": {why}" if why else "")
                     for (what, why), hosts in self._hosts.items())


def refuse(file: str, saw: str) -> NoReturn:
    """Raise UsageFault: the file cannot become an inventory."""
    raise UsageFault(f"--from {file}: {saw}", code="not-imported", details=["nothing was written"],
                     hint="kubewright init --help")


def address_of(file: str, host: str, *candidates: object) -> IPv4Address:
    """Return the first candidate that is an address; refuses a host that has none."""
    for candidate in candidates:
        try:
            return IPv4Address(str(candidate))
        except ValueError:
            continue
    said = ", ".join(str(c) for c in candidates if c) or "nothing"
    refuse(file, f"{host}: no IPv4 address that the cluster could use; it says {said}")


def port_of(file: str, host: str, value: object, usual: int = SSH_PORT) -> int:
    """Return a port, the usual one where nothing is said."""
    if value in (None, ""):
        return usual
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        refuse(file, f"{host}: {value!r} is no port")
    return number


def jump_of(user: object, place: str, port: int) -> str:
    """Return a jump host as `ssh.jump` has it: [USER@]HOST[:PORT]."""
    return (f"{user}@" if user else "") + bracketed(place) + (f":{port}" if port != SSH_PORT else "")


def mapping(file: str, where: str, value: object) -> Mapping[str, Any]:
    """Return a mapping, an empty one for nothing; refuses anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        refuse(file, f"{where}: is no mapping")
    return value


def sequence(file: str, where: str, value: object) -> list[Any]:
    """Return a list, an empty one for nothing; refuses anything else."""
    if value is None:
        return []
    if not isinstance(value, list):
        refuse(file, f"{where}: is no list")
    return value
