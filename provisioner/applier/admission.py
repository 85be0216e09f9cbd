"""What lets others' work through: sshd's limits, the locks of the package manager, routes. Reads; changes nothing."""

from __future__ import annotations

import fcntl
import json
import os
import struct
from typing import Any

from .host import Fault, Host

LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
STATUS = "/var/lib/dpkg/status"
HALF = ("half-installed", "half-configured", "unpacked", "triggers-awaited")
LIMITS = ("maxsessions", "maxstartups")
_FLOCK = "hhqqi4x"        # fcntl(2)'s struct flock on 64-bit machines: type, whence, start, length, process


def sshd_limits(host: Host) -> dict[str, str]:
    """Return sshd's limits on logins, as it reads its own files; Match blocks are not for us to guess."""
    for program in ("/usr/sbin/sshd", "/sbin/sshd"):
        if os.path.exists(host.at(program)):
            pairs = [line.partition(" ")[::2] for line in host.run([program, "-T"]).splitlines()]
            return {name: value for name, value in pairs if name in LIMITS}
    raise Fault("there is no sshd in /usr/sbin whose settings could be asked")


def dpkg(host: Host) -> dict[str, Any]:
    """Answer who holds a lock of the package manager, and which packages an ended run has left half done."""
    holders = [row for row in (_holder(host, path) for path in LOCKS) if row]
    return {"held": holders[0] if holders else None, "half": half_done(host.text(STATUS) or "")}


def _holder(host: Host, path: str) -> list[Any]:
    """Return [file, pid, program] of who holds the lock; to ask takes none."""
    try:
        with open(host.at(path), "rb") as stream:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(stream, fcntl.F_GETLK, asked))
    except FileNotFoundError:
        return []
    return [] if kind == fcntl.F_UNLCK else [path, pid, (host.text(f"/proc/{pid}/comm") or "").strip()]


def half_done(status: str) -> list[str]:
    """Return the packages of dpkg's status file that are neither installed nor gone."""
    found, name = [], ""
    for line in status.splitlines():
        if line.startswith("Package: "):
            name = line[9:]
        elif line.startswith("Status: ") and line.split()[-1] in HALF:
            found.append(name)
    return found


def routes(host: Host) -> list[list[str]]:
    """Return [destination, device] of every route of the main tables, `default` and IPv6's among them."""
    found = []
    for family in ("-4", "-6"):
        for route in json.loads(host.run(["ip", "-json", family, "route", "show"]) or "[]"):
            found.append([str(route["dst"]), str(route.get("dev", ""))])
    return found
