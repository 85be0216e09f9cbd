"""The systems that a host may have: one row each, and everything that differs between them.

A new system is a row here, its golden file, and, to be called `seen`, a cluster on nodes of it. The versions of
Debian's rows are what its package lists say (`apt-cache policy`); those of systems that were not seen are what their
publishers say of the first release of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from provisioner.model.facts import Facts
from provisioner.model.releases import numbers

Rules = Literal["nftables", "iptables"]
# What kube-proxy asks for in nftables mode, and flannel and portmap by the same library: kube-proxy 1.36,
# pkg/util/kernel/constants.go (NFTablesKubeProxyKernelVersion), and knftables 0.0.21, exec.go (nft 1.0.1).
NFTABLES_KERNEL, NFTABLES_NFT = (5, 13), (1, 0, 1)
SYSTEMD = 247                   # the first with ProtectProc= and LoadCredential=, which our units set


@dataclass(frozen=True)
class Places:
    """What lies elsewhere, or is called otherwise, from one family of systems to the next.

    `chrony` is its unit, `sources` the directory that it reads where it reads none below /etc, `keeper` how a host
    gets a keeper of its clock. A system believes the authorities whose certificates lie in `anchors` once it was told
    `believe`, and no more what is gone from there by `forget`; `ssh` is sshd's unit. `runtime`: HAProxy's package
    brings its directory below /run. `selinux`: we have rules for its policy. `manager`: it has NetworkManager.
    """

    chrony: str
    sources: str
    keeper: str
    anchors: str
    believe: str
    forget: str
    ssh: str
    runtime: bool
    selinux: bool
    manager: bool


DEBIAN = Places(
    chrony="chrony.service", sources="", keeper="apt-get install -y systemd-timesyncd && timedatectl set-ntp true",
    anchors="/usr/local/share/ca-certificates", believe="update-ca-certificates",
    forget="update-ca-certificates --fresh", ssh="ssh", runtime=True, selinux=False, manager=False)
# Its chrony.conf names one directory of sources, that of DHCP's; /run is empty at each boot.
REDHAT = Places(
    chrony="chronyd.service", sources="/run/chrony-dhcp", keeper="dnf install -y chrony && timedatectl set-ntp true",
    anchors="/etc/pki/ca-trust/source/anchors", believe="update-ca-trust extract", forget="update-ca-trust extract",
    ssh="sshd", runtime=False, selinux=True, manager=True)


@dataclass(frozen=True)
class System:
    """One row.

    `packages` renames what is called otherwise there; `without` are settings of HAProxy that its version does not know.
    `also` are systems that are made of the same packages, `suite` is what the lab boots it from. `seen`: a cluster was
    brought up and reset on nodes of it. `needs` is what is not there yet for it: while there is any, `check`
    refuses its hosts.
    """

    os_id: str
    version: str
    name: str
    manager: Literal["apt", "dnf"]
    kernel: str
    systemd: int
    python: str
    haproxy: str
    keepalived: str
    nft: str
    packages: Mapping[str, str] = field(default_factory=dict)
    places: Places = DEBIAN
    without: frozenset[str] = frozenset()
    also: tuple[str, ...] = ()
    suite: str = ""
    seen: bool = False
    remark: str = ""
    needs: str = ""

    @property
    def key(self) -> str:
        """Return how the inventory and bundles call it: debian-12."""
        return f"{self.os_id}-{self.version}"

    @property
    def rules(self) -> Rules:
        """Return how Services are made there: by nftables wherever its kernel and its nft are new enough."""
        new = numbers(self.kernel) >= NFTABLES_KERNEL and numbers(self.nft) >= NFTABLES_NFT
        return "nftables" if new else "iptables"

    @property
    def state(self) -> str:
        """Return in a word how far one may count on it."""
        return "seen on nodes" if self.seen else "refused" if self.needs else "not run"

    @property
    def late_credentials(self) -> bool:
        """Say whether systemd makes private copies for ExecStart alone, as before 248: ExecStartPre then fails."""
        return self.systemd < 248

    def package(self, name: str) -> str:
        """Return what a package of Debian's name is called there."""
        return self.packages.get(name, name)


# RHEL's names for what Debian calls otherwise.
_DNF = {"conntrack": "conntrack-tools", "iptables": "iptables-nft", "iproute2": "iproute"}
_REBUILT = ("rocky", "almalinux", "centos", "ol")

TABLE: tuple[System, ...] = (
    System("debian", "11", "Debian 11", "apt", kernel="5.10", systemd=247, python="3.9", haproxy="2.2",
           keepalived="2.1.5", nft="0.9.8", suite="bullseye", seen=True,
           without=frozenset({"srvtcpka-idle", "L7OKC", "crt.key"}),
           remark="Services by iptables: its kernel and its nft are too old for kube-proxy's nftables mode"),
    System("debian", "12", "Debian 12", "apt", kernel="6.1", systemd=252, python="3.11", haproxy="2.6",
           keepalived="2.2.7", nft="1.0.6", suite="bookworm", seen=True),
    System("debian", "13", "Debian 13", "apt", kernel="6.12", systemd=257, python="3.13", haproxy="3.0",
           keepalived="2.3.3", nft="1.1.3", suite="trixie", seen=True),
    System("ubuntu", "22.04", "Ubuntu 22.04", "apt", kernel="5.15", systemd=249, python="3.10", haproxy="2.4",
           keepalived="2.2.4", nft="1.0.2", without=frozenset({"L7OKC"})),
    System("ubuntu", "24.04", "Ubuntu 24.04", "apt", kernel="6.8", systemd=255, python="3.12", haproxy="2.8",
           keepalived="2.2.8", nft="1.0.9"),
    System("rhel", "9", "RHEL 9", "dnf", kernel="5.14", systemd=252, python="3.9", haproxy="2.4", keepalived="2.2.8",
           nft="1.0.4", packages=_DNF, places=REDHAT, without=frozenset({"L7OKC"}), also=_REBUILT,
           remark="with SELinux `up` adds a module to the policy, `kubewright`, that no kernel has enforced yet"),
    System("rhel", "10", "RHEL 10", "dnf", kernel="6.12", systemd=257, python="3.12", haproxy="3.0", keepalived="2.2.8",
           nft="1.1.1", packages=_DNF, places=REDHAT, also=_REBUILT,
           needs="runc, which its sources have no more (containers are started there by crun, and we do not tell "
                 "containerd so), and the kernel's modules for iptables, which its images leave out "
                 "(kernel-modules-extra)"),
)
BY_KEY: Mapping[str, System] = {row.key: row for row in TABLE}
DEFAULT = BY_KEY["debian-12"]
SUPPORTED = ", ".join(row.name for row in TABLE if not row.needs)       # as messages name them


def of(os_id: str, version: str) -> System | None:
    """Return the row of a host by what its /etc/os-release says; None where there is none. 9.4 is of the row 9."""
    return next((row for row in TABLE if os_id in (row.os_id, *row.also)
                 and f"{version}.".startswith(f"{row.version}.")), None)


def of_facts(facts: Facts) -> System:
    """Return the row of a host that may be of no system of ours: what is compiled for it is never applied then."""
    return of(facts.os_id, facts.os_version) or DEFAULT


def in_use(systems: Iterable[str]) -> tuple[System, ...]:
    """Return the rows that these keys name, each once, in the order of the table."""
    named = set(systems)
    return tuple(row for row in TABLE if row.key in named)
