"""Who installs packages on a host: what is asked of it and told to it, in one room for each of the two there are."""

from __future__ import annotations

import os
from typing import Any, Callable, Collection, NamedTuple, Optional, Sequence

from .host import Host
from .release import os_release

# By ID, else ID_LIKE of os-release: the other's programs may well be there beside a system's own.
OF_SYSTEMS = {"debian": "apt", "ubuntu": "apt", "rhel": "dnf", "rocky": "dnf", "almalinux": "dnf", "centos": "dnf",
              "ol": "dnf", "fedora": "dnf"}
DPKG_STATUS = "/var/lib/dpkg/status"        # for what is neither
DNF = "/usr/bin/dnf"


class Brought(NamedTuple):
    """A file as its package brought it."""

    package: str
    algorithm: str
    digest: str


class Would(NamedTuple):
    """What installing packages takes: the addresses that they are fetched from, and what is removed for them."""

    fetches: list[str]
    removes: list[str]


class Manager:
    """What differs between apt with dpkg and dnf with rpm; nothing here decides what is done with an answer."""

    def states(self, host: Host, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return [state, version] of those of the names of which anything is there."""
        raise NotImplementedError

    def installed(self, host: Host) -> set[str]:
        """Return the names of the packages of which anything is there but left-over settings."""
        raise NotImplementedError

    def automatic(self, host: Host) -> set[str]:
        """Return those that came because others needed them, and that nobody asked for by name."""
        raise NotImplementedError

    def wait(self, host: Host, seconds: float) -> None:
        """Wait until nobody is at work with the packages; a Fault after so long."""
        raise NotImplementedError

    def going(self, host: Host, names: Collection[str], seconds: float) -> set[str]:
        """Return the names of all packages that would go with these, themselves among them."""
        raise NotImplementedError

    def remove(self, host: Host, names: Collection[str], seconds: float) -> None:
        """Remove packages, and nothing else."""
        raise NotImplementedError

    def brought(self, host: Host, paths: Sequence[str]) -> dict[str, Brought]:
        """Return of the settings among these files what their packages brought."""
        raise NotImplementedError

    def holder(self, host: Host) -> Optional[list[Any]]:
        """Return [file, pid, program] of who is at work with the packages; to ask takes no lock."""
        raise NotImplementedError

    def half(self, host: Host) -> list[str]:
        """Return the packages that an ended run has left half done."""
        raise NotImplementedError

    def would_install(self, host: Host, names: Sequence[str]) -> Optional[Would]:
        """Return what it would take to install these; None where the lists do not know them all."""
        raise NotImplementedError

    def sources(self, host: Host) -> list[str]:
        """Return the addresses that the lists come from."""
        raise NotImplementedError

    def proxied(self, host: Host) -> bool:
        """Say whether its own settings send it through a proxy."""
        raise NotImplementedError

    def refresh(self, host: Host) -> bool:
        """Read the lists anew; another that does so now is waited for, and a Fault says what a source answered."""
        raise NotImplementedError

    def of_system(self, host: Host) -> dict[str, Callable[[], Any]]:
        """Return what is asked of the system as a whole: what would be upgraded, what is held, half done or came by
        itself, and whether a reboot is asked for and by which packages.
        """
        raise NotImplementedError


def name_of(host: Host) -> str:
    """Return which is the host's own, by its system, or by what is there; apt where neither is, which then says so.

    It is told with the facts, so that what is told to a host from elsewhere is told to the same one.
    """
    release = os_release(host)
    for system in (release.get("ID", ""), *release.get("ID_LIKE", "").split()):
        if system in OF_SYSTEMS:
            return OF_SYSTEMS[system]
    return "dnf" if not os.path.exists(host.at(DPKG_STATUS)) and os.path.exists(host.at(DNF)) else "apt"


def of(host: Host) -> Manager:
    """Return the host's own."""
    if name_of(host) == "dnf":
        from .dnf import Dnf  # each host pays for its own
        return Dnf()
    from .apt import Apt
    return Apt()
