"""Rules for how we log in, and for who may read the secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provisioner.model.cluster import Cluster, Ssh, SshOverride
from provisioner.model.document import Path
from provisioner.model.syntax import HOST_PATTERN, host_fault, matches_with_port, operator_fault
from provisioner.model.values import escaped

Faults = Iterator[tuple[Path, str]]

_JUMP = re.compile(rf"([A-Za-z_][A-Za-z0-9_.-]*@)?{HOST_PATTERN}(:(?P<port>\d{{1,5}}))?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def logins(cluster: Cluster) -> Faults:
    """How to log in, the cluster's and each host's own."""
    yield from _login(("ssh",), cluster.ssh)
    for name, spec in cluster.hosts.items():
        yield from _login(("hosts", name, "ssh"), spec.ssh)


def places(cluster: Cluster) -> Faults:
    """A place to log in at that cannot be one, or that is another host's: the two would be one machine."""
    logins = {host: cluster.ssh_of(host.name) for host in cluster.machines}
    taken = {(address, ssh.port, ssh.jump): host.name for host, ssh in logins.items() for address in host.addresses}
    for host, ssh in logins.items():
        if host.spec.ssh.host is None:
            continue
        name, other = host.name, taken.setdefault((ssh.host, ssh.port, ssh.jump), host.name)
        fault = host_fault(ssh.host) or (f"{ssh.host}, port {ssh.port}, is {other}'s sshd" if other != name else "")
        if fault:
            yield ("hosts", name, "ssh", "host"), fault


def becomes_root(cluster: Cluster) -> Faults:
    """Refuse a login that can change nothing there; told where it is written, once for all hosts that inherit it."""
    told: set[Path] = set()
    for name, spec in cluster.hosts.items():
        ssh = cluster.ssh_of(name)
        own = spec.ssh.become is not None or spec.ssh.user is not None
        path: Path = ("hosts", name, "ssh") if own else ("ssh", "become")
        if ssh.become == "none" and ssh.user != "root" and path not in told:
            told.add(path)
            yield path, f"become: none is for root itself; {escaped(ssh.user)} needs `become: sudo`"


def _login(path: Path, ssh: Ssh | SshOverride) -> Faults:
    if ssh.user is not None and not _USER.fullmatch(ssh.user):
        yield (*path, "user"), f"`{escaped(ssh.user)}` is not a user name"
    if ssh.jump is not None and not matches_with_port(_JUMP, ssh.jump):
        yield (*path, "jump"), f"`{escaped(ssh.jump)}` is not USER@HOST[:PORT]"
    if ssh.key is not None and (ssh.key.startswith("-") or not ssh.key.strip() or not ssh.key.isprintable()):
        yield (*path, "key"), f"{ssh.key!r} is not the path of a private key"
    elif ssh.key is not None and ssh.key.endswith(".pub"):
        yield (*path, "key"), f"{ssh.key} is a public key; name the private one, {ssh.key.removesuffix('.pub')}"


def operators(cluster: Cluster) -> Faults:
    """A key that cannot read secrets, or one that stands there twice."""
    seen: dict[tuple[str, ...], int] = {}
    for index, key in enumerate(cluster.operators):
        fault = operator_fault(key)
        identity = tuple(key.split(maxsplit=2)[:2])
        if not fault and identity in seen:
            fault = f"this key is in the list twice, first as entry {seen[identity] + 1}"
        seen.setdefault(identity, index)
        if fault:
            yield ("operators", index), fault


def operators_exist(cluster: Cluster) -> Faults:
    """Nobody who could read the secrets."""
    if not cluster.operators and not cluster.lab:
        yield ("operators",), "at least one SSH public key is needed, else nobody could read the cluster's secrets"
