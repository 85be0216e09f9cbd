"""Pinned host keys: what a cluster's known_hosts file says, and the refusal of everything else."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NoReturn

import paramiko
from paramiko.hostkeys import HostKeyEntry

from provisioner.transport.faults import UnknownHostKey

log = logging.getLogger(__name__)


class RefuseUnknown(paramiko.RejectPolicy):
    """Refuses a host whose key is not pinned, before authentication, and remembers the key's fingerprint."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> NoReturn:
        raise UnknownHostKey(key.fingerprint)


def usable_lines(file: Path) -> list[str]:
    """Return the lines of a known_hosts file that pin a key; none for a file that does not exist.

    Lines that start with `@` (certificate authorities, revoked keys) would make paramiko reject the whole file.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    kept = []
    for number, line in enumerate(lines, 1):
        if line.startswith("@"):
            log.warning("%s:%d: lines with %s are not supported and pin nothing", file, number, line.split()[0])
        elif line.strip() and not line.startswith("#"):
            kept.append(line)
    return kept


def pinned(file: Path) -> list[HostKeyEntry]:
    """Return the entries of a known_hosts file; a line that cannot be read pins nothing."""
    entries = []
    for line in usable_lines(file):
        try:
            entry = HostKeyEntry.from_line(line)
        except paramiko.SSHException:
            entry = None
        if entry is not None:
            entries.append(entry)
    return entries


def load_into(client: paramiko.SSHClient, file: Path) -> None:
    """Make `client` accept exactly the keys that `file` pins."""
    client.set_missing_host_key_policy(RefuseUnknown())
    keys = client.get_host_keys()
    keys.clear()
    for entry in pinned(file):
        for name in entry.hostnames or ():
            if entry.key is not None:
                keys.add(name, entry.key.get_name(), entry.key)
