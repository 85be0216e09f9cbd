"""`os`: what the operating system itself waits for, newer packages and a reboot. Reads, but for apt's own lists."""

from __future__ import annotations

import os
import time
from typing import Any, Mapping

from . import admission
from .host import Fault, Host
from .inspect import looked

BOOT = "/proc/sys/kernel/random/boot_id"
REQUIRED, BY = "/run/reboot-required", "/run/reboot-required.pkgs"
SECONDS = 240       # for apt-get update: 15 s a source and try
PATIENCE = 60.0     # seconds that another's lock on the lists is waited for
_UPDATE = ["apt-get", "-q", "-o", "Acquire::http::Timeout=15", "-o", "Acquire::https::Timeout=15",
           "-o", "Acquire::Retries=1", "update"]
# What `apt upgrade` does: new packages may come with the others, none goes.
_WOULD = ["env", "LC_ALL=C", "apt-get", "-s", "-q", "-o", "Debug::NoLocking=1", "--with-new-pkgs", "upgrade"]


def state(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer which boot this is, whether another one is asked for and by which packages, and what apt would upgrade.

    With `refresh` apt reads its lists anew first; what could not be asked is named in `unseen`, with why.
    """
    asked = {"lists": lambda: _refreshed(host)} if request.get("refresh") else {}
    answer, unseen = looked({
        **asked,
        "boot": lambda: (host.text(BOOT) or "").strip(),
        "required": lambda: os.path.exists(host.at(REQUIRED)),
        "by": lambda: sorted(set((host.text(BY) or "").split())),
        "would": lambda: host.run(_WOULD, timeout=60),
        "held": lambda: host.run(["apt-mark", "showhold"]).split(),
        "automatic": lambda: host.run(["apt-mark", "showauto"]).split(),
        "half": lambda: admission.half_done(host.text(admission.STATUS) or ""),
    })
    return {**answer, "unseen": unseen}


def _refreshed(host: Host) -> bool:
    """Let apt read its lists anew; another that does so now is waited for, and Fault says what a source answered."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            host.run(_UPDATE, timeout=SECONDS)
            return True
        except Fault as fault:
            if "lists/lock" not in str(fault) or time.monotonic() > end:
                raise
        time.sleep(1.0)
