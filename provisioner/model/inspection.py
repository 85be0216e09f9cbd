"""What only a machine that is to be changed is asked: who listens where, what lies there already, how much room is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Listener:
    """A process that listens on a TCP port; `process` is empty where it could not be found (another pid namespace)."""

    port: int
    address: str
    process: str = ""
    pid: int = 0
    unit: str = ""

    @property
    def is_wide(self) -> bool:
        """Say whether it listens on every address of the machine."""
        return self.address in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

    @property
    def is_loopback(self) -> bool:
        """Say whether only the machine itself reaches it."""
        return self.address.startswith("127.") or self.address in ("::1", "::ffff:127.0.0.1")

    def __str__(self) -> str:
        """Name the process by what is the same on every host: `nginx (nginx.service)`, never by its pid."""
        if not self.process:
            return "a process that cannot be seen from there"
        return f"{self.process} ({self.unit})" if self.unit.endswith(".service") else self.process


@dataclass(frozen=True)
class Disk:
    """A file system with those of the asked directories that lie on it."""

    paths: tuple[str, ...]
    free_mib: int
    read_only: bool = False
    no_exec: bool = False            # mounted such that no program on it runs


@dataclass(frozen=True)
class Packages:
    """The packages that a host lacks: do apt's lists know them all, and what is wrong with each site they come from?

    Where the lists do not know them, the sites are those that the lists come from. `removes` are the packages
    that would be removed for them.
    """

    missing: tuple[str, ...] = ()
    listed: bool = True
    sites: Mapping[str, str] = field(default_factory=dict)
    removes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """Everything one `inspect` call answered; `there` are those of the asked paths that exist."""

    prepared: bool = False           # we were here before: /var/lib/kubewright exists
    listeners: tuple[Listener, ...] = ()
    there: frozenset[str] = frozenset()
    disks: tuple[Disk, ...] = ()
    swap: str = "off"                # the state string of the item `swap`
    forward_drops: tuple[str, ...] = ()  # chains of others that drop what is forwarded for Pods, each with why
    services_of_others: tuple[str, ...] = ()    # iptables chains of another kube-proxy that still have rules
    product: str = ""                # the machine's own UUID; empty in a container, where it is the machine's below
    links: Mapping[str, str] = field(default_factory=dict)      # those of our directories that are links -> where to
    packages: Packages = field(default_factory=Packages)
    others: Mapping[str, str] = field(default_factory=dict)     # files where ours go, that are not ours -> whose
    sysctls: tuple[tuple[str, str, str], ...] = ()              # file, key, value: as they are read at boot
    holders: tuple[str, ...] | None = None                      # who says that the VIP is theirs; None: not asked
    # Others' input chains -> what no rule of theirs can let in: a protocol, and a port where it has one.
    shut_out: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)     # what could not be looked at -> why
