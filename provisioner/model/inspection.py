"""What only a machine that is to be changed is asked: who listens where, what lies there already, how much room is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provisioner.model.file_system import FileSystem


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
class Kernel:
    """The kernel that runs: features that it neither has nor can load, and trees of modules that are another's."""

    release: str = ""
    missing: tuple[str, ...] = ()
    other_trees: tuple[str, ...] = ()   # asked only where its own tree is not there


@dataclass(frozen=True)
class Units:
    """What systemd says: its version, units of ours that are masked, services that keep the clock or make routes."""

    masked: tuple[str, ...] = ()
    keepers: tuple[str, ...] | None = None      # None: not asked
    systemd: int = 252
    synchronized: bool | None = None            # has one of them set the clock? None: the kernel does not say
    agents: tuple[str, ...] = ()                # those at work that make rules of routes as a cloud tells them


@dataclass(frozen=True)
class LocalPorts:
    """The range that outgoing connections take their ports from, and what is kept out of it."""

    low: int = 32768
    high: int = 60999
    reserved: tuple[tuple[int, int], ...] = ()

    def takes(self, port: int) -> bool:
        """Say whether an outgoing connection may get this port."""
        return self.low <= port <= self.high and not any(low <= port <= high for low, high in self.reserved)


@dataclass(frozen=True)
class Dpkg:
    """The package manager: who holds a lock of it (file, process, program), and packages left half done."""

    held: tuple[str, int, str] | None = None
    half: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """Everything one `inspect` call answered; `there` are those of the asked paths that exist."""

    prepared: bool = False           # we were here before: /var/lib/kubewright exists
    listeners: tuple[Listener, ...] = ()
    there: frozenset[str] = frozenset()
    disks: tuple[FileSystem, ...] = ()
    swap: str = "off"                # the state string of the item `swap`
    forward_drops: tuple[str, ...] = ()  # chains of others that drop what is forwarded for Pods, each with why
    services_of_others: tuple[str, ...] = ()    # iptables chains of another kube-proxy that still have rules
    product: str = ""                # the machine's own UUID; empty in a container, where it is the machine's below
    links: Mapping[str, str] = field(default_factory=dict)      # those of our directories that are links -> where to
    packages: Packages = field(default_factory=Packages)
    mirror: str = ""                 # why the mirror of artifacts gives this host nothing, where it was asked
    others: Mapping[str, str] = field(default_factory=dict)     # files where ours go, that are not ours -> whose
    sysctls: tuple[tuple[str, str, str], ...] = ()              # file, key, value: as they are read at boot
    holders: tuple[str, ...] | None = None                      # who says that the VIP is theirs; None: not asked
    # Others' input chains -> what no rule of theirs can let in: a protocol, and a port where it has one.
    shut_out: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    input_drops: tuple[str, ...] = ()   # others' input chains that drop what no rule lets in, whatever rules there are
    kernel: Kernel = field(default_factory=Kernel)
    container: str = ""                                         # what kind of container; empty on a machine
    capabilities_lost: tuple[str, ...] = ()
    controllers: tuple[str, ...] = ()                           # cgroup controllers that are on
    devices_lost: tuple[str, ...] = ()
    confinement: Mapping[str, str] = field(default_factory=dict)    # selinux, apparmor -> what it does
    python_lacks: tuple[str, ...] = ()                          # standard modules that its Python does not have
    units: Units = field(default_factory=Units)
    mounted: tuple[str, ...] = ()                               # mounts below directories that ought to have none
    cni: tuple[str, ...] = ()                                   # files where containerd will look for CNI configuration
    hosts_file: tuple[tuple[str, tuple[str, ...]], ...] = ()    # /etc/hosts: address, names
    resolv: Mapping[str, tuple[str, ...]] = field(default_factory=dict)     # servers, search -> in their order
    environment: tuple[tuple[str, str, str], ...] = ()          # file, name, value: proxies and locales
    locale_refused: str = ""                                    # a locale that logins get and the system lacks
    local_ports: LocalPorts = field(default_factory=LocalPorts)
    swap_by: tuple[str, ...] = ()                               # what brings swap back at a boot
    host_key: str = ""                                          # a digest of sshd's key, to compare hosts by
    netdevs: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()                                # `ip nat NAME`: all that there are, base or not
    sshd: Mapping[str, str] = field(default_factory=dict)       # maxsessions, maxstartups
    dpkg: Dpkg = field(default_factory=Dpkg)
    routes: tuple[tuple[str, str], ...] = ()                    # destination, device
    unseen: Mapping[str, str] = field(default_factory=dict)     # what could not be looked at -> why
