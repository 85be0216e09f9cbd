"""`os`: what the operating system itself waits for, newer packages and a reboot. Reads, but for the packages' lists."""

from __future__ import annotations

from typing import Any, Mapping

from . import managers
from .host import Host
from .inspect import looked

BOOT = "/proc/sys/kernel/random/boot_id"


def state(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer which boot this is, whether another one is asked for and by which packages, and what would be upgraded.

    With `refresh` the lists are read anew first; what could not be asked is named in `unseen`, with why.
    """
    manager = managers.of(host)
    asked = {"lists": lambda: manager.refresh(host)} if request.get("refresh") else {}
    answer, unseen = looked({
        **asked, "boot": lambda: (host.text(BOOT) or "").strip(), **manager.of_system(host)})
    return {**answer, "unseen": unseen}
