"""Pinned host keys: what a cluster's known_hosts file says, read as ssh reads it, and the refusal of all else."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from provisioner.errors import InventoryRefused
from provisioner.transport.faults import DamagedLine, RevokedHostKey, UnknownHostKey

REVOKED = "@revoked"
AUTHORITY = "@cert-authority"


@dataclass(frozen=True)
class Line:
    """One line that says something: a marker or none, patterns of names, and the key; None where it is damaged."""

    number: int
    marker: str
    patterns: tuple[str, ...]
    key: paramiko.PKey | None

    def is_for(self, name: str) -> bool:
        """Say whether the line is about this place: one pattern fits, and none that begins with `!`."""
        fits = [pattern for pattern in self.patterns if _fits(pattern.lstrip("!"), name)]
        return bool(fits) and not any(pattern.startswith("!") for pattern in fits)


def _fits(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        _, _, salt, digest = pattern.split("|", 3)
        try:
            made = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
            return hmac.compare_digest(made, base64.b64decode(digest))
        except ValueError:
            return False
    return matches(pattern, name)


def matches(pattern: str, name: str) -> bool:
    """Say whether a name is one of a pattern's, in which ssh knows `*` and `?` alone."""
    return fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))


class Pins:
    """What a known_hosts file says of one place."""

    def __init__(self, file: Path, name: str) -> None:
        lines = read(file)
        ours = [line for line in lines if line.key is not None and line.is_for(name)]
        self.keys = [line.key for line in ours if not line.marker and line.key is not None]
        self._revoked = [line.key for line in ours if line.marker == REVOKED]
        self._authority = any(line.marker == AUTHORITY and line.key not in self._revoked for line in ours)
        self._damaged = [f"{file}:{line.number}" for line in lines if line.key is None]

    @property
    def types(self) -> tuple[str, ...]:
        """Return the types of the pinned keys, as SSH names them when it asks for one."""
        rsa = ("rsa-sha2-512", "rsa-sha2-256")
        return tuple(dict.fromkeys(t for key in self.keys for t in (rsa if key.get_name() == "ssh-rsa"
                                                                   else (key.get_name(),))))

    def refuse_revoked(self, key: paramiko.PKey) -> None:
        """Raise RevokedHostKey where the file says that nobody may believe this key."""
        if key in self._revoked:
            raise RevokedHostKey(key.fingerprint)

    def check(self, host: str, key: paramiko.PKey) -> None:
        """Raise unless the key is pinned; the fault says what the file says instead."""
        self.refuse_revoked(key)
        if key in self.keys:
            return
        if self.keys:
            raise paramiko.BadHostKeyException(host, key, self.keys[0])
        if self._damaged:
            raise DamagedLine(self._damaged)
        raise UnknownHostKey(key.fingerprint, authority=self._authority)


def authorities(files: Iterable[Path], name: str, host: str) -> list[paramiko.PKey]:
    """Return the keys of those who may say whose a host's key is (@cert-authority), by its name with or without a port.

    One that any of the files revokes for the host may not, as with ssh (hostfile.c, check_key_not_revoked).
    """
    ours = [(line.marker, line.key) for file in files for line in read(file)
            if line.key is not None and (line.is_for(name) or line.is_for(host))]
    return [key for marker, key in ours if marker == AUTHORITY and (REVOKED, key) not in ours]


class OnlyPinned(paramiko.MissingHostKeyPolicy):
    """Decides on every key, before authentication: paramiko's own list knows neither patterns nor revoked keys."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        self._pins.check(hostname, key)


def read(file: Path) -> Sequence[Line]:
    """Return the lines of a known_hosts file; none for a file that does not exist.

    Raises InventoryRefused for what cannot be read at all. A line that is damaged pins nothing, as in ssh.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        _refuse(file, "it is not text")
    except OSError as e:
        _refuse(file, str(e.strerror))
    return [_line(number, text) for number, text in enumerate(lines, 1) if text.strip() and text.lstrip()[0] != "#"]


def _refuse(file: Path, saw: str) -> NoReturn:
    raise InventoryRefused(f"{file}: reading the pinned host keys: {saw}", code="known-hosts", hint=f"ls -ld {file}")


def _line(number: int, text: str) -> Line:
    marker, rest = text.split(maxsplit=1) if text.startswith("@") and " " in text.strip() else ("", text)
    try:
        entry = HostKeyEntry.from_line(rest.strip(), number)
    except (InvalidHostKey, paramiko.SSHException):
        entry = None
    if entry is None:
        return Line(number, marker, (), None)
    return Line(number, marker, tuple(entry.hostnames or ()), entry.key)


def pinned(file: Path) -> list[Line]:
    """Return the lines that pin a key."""
    return [line for line in read(file) if line.key is not None and not line.marker]
