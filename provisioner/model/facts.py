"""What was seen of a machine, as values; compile may use them, nothing guesses them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_interface


@dataclass(frozen=True)
class Interface:
    """A network interface: addresses as `10.0.0.1/24`, MTU in bytes, and its hardware address where it has one."""

    name: str
    addresses: tuple[str, ...]
    mtu: int
    mac: str = ""


@dataclass(frozen=True)
class Facts:
    """The facts of one host, as the applier's `observe` reports them under `facts`."""

    hostname: str
    machine_id: str
    boot_id: str
    os_id: str                      # ID of /etc/os-release: debian
    os_version: str                 # VERSION_ID: 12
    arch: str                       # Go's name: amd64, arm64
    kernel: str
    python: str
    cpus: int
    memory_mib: int
    cgroup: str                     # v1 or v2
    cap_sys_resource: bool          # may a service lower oom_score_adj?
    epoch: float                    # the host's clock, seconds since 1970, when it answered
    interfaces: tuple[Interface, ...] = ()
    uid: int = 0                    # of the user that we are there, after sudo
    systemd: bool = True            # is it the init that runs there?
    resolv_conf: str = "/etc/resolv.conf"   # the file that names DNS servers which Pods reach; empty: none does
    manager: str = ""               # of packages, as the host knows its own: apt, dnf; empty: as its system's row says

    @property
    def addresses(self) -> frozenset[str]:
        """Return the addresses of all interfaces, without prefixes."""
        return frozenset(address.partition("/")[0] for i in self.interfaces for address in i.addresses)

    @property
    def packaged_as(self) -> str:
        """Return how a bundle names the packages for this host: debian-12-amd64."""
        return f"{self.os_id}-{self.os_version}-{self.arch}"

    def carrier(self, address: str) -> Interface | None:
        """Return the interface that carries `address` (without prefix), or None."""
        return next((i for i in self.interfaces if any(a.partition("/")[0] == address for a in i.addresses)), None)

    def interface_in(self, address: str) -> str | None:
        """Return the name of the interface that is in the network of `address`, by another address of its own, or None.

        The one that comes first in the kernel's order, where several are.
        """
        wanted = ip_address(address)
        return next((i.name for i in self.interfaces for own in map(ip_interface, i.addresses)
                     if own.ip != wanted and own.version == wanted.version and wanted in own.network), None)

    def interface_of(self, address: str) -> str | None:
        """Return the name of the interface that carries `address` (without prefix), or None."""
        carrier = self.carrier(address)
        return carrier.name if carrier else None
