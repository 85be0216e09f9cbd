"""Pinning host keys: what a machine shows, before any login, and the file that keeps it."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.files import write_whole
from provisioner.transport import faults, hostkeys
from provisioner.transport.login import CHANNEL_TIMEOUT, CONNECT_TIMEOUT, Gateway, Timely
from provisioner.transport.target import Hop, Target

CERTIFICATES = tuple(f"{kind}-cert-v01@openssh.com" for kind in (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512",
    "rsa-sha2-256"))


@dataclass(frozen=True)
class HostKey:
    """A key that a place showed: its type, its fingerprint as ssh-keygen prints it, and its known_hosts line."""

    name: str
    type: str
    fingerprint: str
    line: str
    certificate: str = ""                   # that it came with, as TYPE BASE64
    authorities: tuple[str, ...] = ()       # who may speak for it, likewise


def fetch(target: Target, also: Path | None = None) -> HostKey:
    """Return the key that the machine shows first (Ed25519 where it has one); nothing of ours is sent.

    Behind a jump host the way leads through a login there, whose own key must be pinned already. Where known_hosts or
    the file `also` names an authority for it, its certificate is asked for, and judged by nobody here.
    """
    if target.jump is None:
        return _shown(target, target.hop, lambda: _direct(target.hop), also)
    gateway = Gateway(target)
    try:
        far = gateway.open(target.name)
        return _shown(target, target.hop, lambda: far.transport.open_channel(
            "direct-tcpip", (target.address, target.port), ("127.0.0.1", 0), timeout=CHANNEL_TIMEOUT), also)
    finally:
        gateway.close()


def fetch_jump(target: Target, also: Path | None = None) -> HostKey | None:
    """Return the key of the jump host, or None where there is none."""
    jump = target.jump
    return None if jump is None else _shown(target, jump, lambda: _direct(jump), also, via=True)


def _shown(target: Target, hop: Hop, connect: Callable[[], Any], also: Path | None, *, via: bool = False) -> HostKey:
    transport, files = None, [target.known_hosts_file, *([also] if also else [])]
    pinned = hostkeys.Pins(target.known_hosts_file, hop.known_hosts_name).keys
    authorities = [] if pinned else hostkeys.authorities(files, hop.known_hosts_name, hop.address)
    try:
        transport = Timely(connect())
        transport.banner_timeout = CONNECT_TIMEOUT
        if authorities:
            options = transport.get_security_options()
            options.key_types = (*CERTIFICATES, *options.key_types)
        transport.start_client(timeout=CONNECT_TIMEOUT)
        key = transport.get_remote_server_key()
        for file in files:
            hostkeys.Pins(file, hop.known_hosts_name).refuse_revoked(key)
    except faults.BROKEN as e:
        raise faults.connect_fault(target.name, hop, e, via=via) from e
    finally:
        if transport is not None:
            transport.close()
    line = f"{hop.known_hosts_name} {key.get_name()} {key.get_base64()}"
    came = key.public_blob
    certificate = f"{came.key_type} {base64.b64encode(came.key_blob).decode()}" if came is not None else ""
    return HostKey(hop.known_hosts_name, key.get_name(), key.fingerprint, line, certificate,
                   tuple(f"{one.get_name()} {one.get_base64()}" for one in authorities))


def _direct(hop: Hop) -> socket.socket:
    return socket.create_connection((hop.address, hop.port), timeout=CONNECT_TIMEOUT)


def pinned_for(target: Target) -> Sequence[HostKey]:
    """Return the keys that the file pins for this machine."""
    return said_in(target.known_hosts_file, target.hop.known_hosts_name)


def pinned_jump(target: Target) -> Sequence[HostKey]:
    """Return the keys that the file pins for the jump host, none where there is no such host."""
    return [] if target.jump is None else said_in(target.known_hosts_file, target.jump.known_hosts_name)


def said_in(file: Path, name: str) -> Sequence[HostKey]:
    """Return the keys that a known_hosts file says a place has."""
    return [HostKey(name, e.key.get_name(), e.key.fingerprint, f"{name} {e.key.get_name()} {e.key.get_base64()}")
            for e in hostkeys.pinned(file) if e.is_for(name) and e.key is not None]


def pin(file: Path, keys: Iterable[HostKey], *, replace: bool = False) -> None:
    """Write the keys into the known_hosts file in one rename; with `replace`, older keys of the same names go."""
    new = list(dict.fromkeys(keys))
    names = {key.name for key in new}
    hostkeys.read(file)         # what is no file of lines is refused before it is replaced
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    if replace:
        lines = [line for line in lines if not names & set(line.split(" ", 1)[0].split(","))]
    lines += [key.line for key in new if key.line not in lines]
    _write(file, "".join(f"{line}\n" for line in lines))


def _write(file: Path, text: str) -> None:
    file = Path(os.path.realpath(file))     # a link to a file that several inventories share stays one
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, text, 0o644)      # public keys: the file is committed beside cluster.yaml
