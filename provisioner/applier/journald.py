"""A unit's lines of the journal, handed through as journald writes them, for as long as somebody reads them."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from .host import Fault, Host, caller_gone, check_unit
from .stamps import INPUTS

TICK = 0.25   # seconds until it is noticed that the reader has gone
FIELDS = "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_COMM,_PID"


def journal(host: Host, request: dict[str, Any]) -> dict[str, Any]:
    """Write one JSON object a line to stdout, then answer; `follow` ends only when the reader goes.

    A unit that the host does not know and the journal has nothing of is answered with the units of ours there.
    """
    unit = check_unit(request.get("unit"))
    if not _is_known(host, unit):
        return {"unknown": unit, "ours": _ours(host)}
    argv = ["journalctl", "--quiet", "--no-pager", "--output=json", "--all", f"--output-fields={FIELDS}",
            f"--unit={unit}", f"--lines={request.get('lines') or 'all'}"]
    if request.get("since"):
        argv.append(f"--since={request['since']}")
    if request.get("follow"):
        argv.append("--follow")
    try:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise Fault("journalctl: not found on this host") from None
    _wait(child)
    text = child.stderr.read().decode(errors="replace").strip() if child.stderr else ""
    return {"refused": text or f"exit {child.returncode}"} if child.returncode else {"ended": True}


def _wait(child: subprocess.Popen[bytes]) -> None:
    """Wait for the child's end, and end it when nobody reads what it writes: a quiet unit would never tell it."""
    while True:
        try:
            child.wait(TICK)
            return
        except subprocess.TimeoutExpired:
            if caller_gone():
                child.kill()
                child.wait()
                raise Fault("nobody reads any more") from None


def _is_known(host: Host, unit: str) -> bool:
    """Say whether systemd has the unit, or once had it: the lines of a transient one outlive it."""
    state = host.run(["systemctl", "show", "--property=LoadState", "--", unit], check=False)
    if "LoadState=" in state and "not-found" not in state:
        return True
    argv = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=1", f"--unit={unit}"]
    return bool(host.run(argv, check=False))


def _ours(host: Host) -> list[str]:
    try:
        return sorted(os.listdir(host.at(INPUTS)))
    except OSError:
        return []
