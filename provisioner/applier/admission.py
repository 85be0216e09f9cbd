"""What lets others' work through: sshd's limits, the locks of the package manager, routes. Reads; changes nothing."""

from __future__ import annotations

import json
import os
from typing import Any

from . import managers
from .host import Fault, Host

LIMITS = ("maxsessions", "maxstartups")


def sshd_limits(host: Host) -> dict[str, str]:
    """Return sshd's limits on logins, as it reads its own files; Match blocks are not for us to guess."""
    for program in ("/usr/sbin/sshd", "/sbin/sshd"):
        if os.path.exists(host.at(program)):
            pairs = [line.partition(" ")[::2] for line in host.run([program, "-T"]).splitlines()]
            return {name: value for name, value in pairs if name in LIMITS}
    raise Fault("there is no sshd in /usr/sbin whose settings could be asked")


def dpkg(host: Host) -> dict[str, Any]:
    """Answer who holds a lock of the package manager, and which packages an ended run has left half done."""
    manager = managers.of(host)
    return {"held": manager.holder(host), "half": manager.half(host)}


def routes(host: Host) -> list[list[str]]:
    """Return [destination, device] of every route of the main tables, `default` and IPv6's among them."""
    found = []
    for family in ("-4", "-6"):
        for route in json.loads(host.run(["ip", "-json", family, "route", "show"]) or "[]"):
            found.append([str(route["dst"]), str(route.get("dev", ""))])
    return found
