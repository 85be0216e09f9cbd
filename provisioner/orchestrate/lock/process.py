"""Who we are among all processes anywhere, and whether such a process is certainly dead."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")
_STATE, _START = 0, 19      # fields of /proc/PID/stat behind the name (proc_pid_stat(5): 3 and 22)


def me() -> dict[str, Any]:
    """Return this process: the kernel's boot, the namespace that its number counts in, its number, when it started."""
    pid = os.getpid()
    seen = _stat(pid)
    return {**_here(), "pid": pid, "start": seen[_START] if seen else ""}


def is_dead(process: Mapping[str, Any]) -> bool:
    """Say whether this process is certainly dead; of one that ran elsewhere nothing is certain.

    A container on this machine has the same boot but counts its processes by itself, so it counts as elsewhere. A
    number that somebody else has now is known by its start; a process that may not be looked at is taken for alive.
    """
    if not is_here(process):
        return False
    try:
        os.kill(int(process["pid"]), 0)     # asks the kernel, which answers also where /proc hides it
    except ProcessLookupError:
        return True
    except (PermissionError, KeyError, ValueError):
        return False
    seen = _stat(int(process["pid"]))
    return seen is not None and (seen[_START] != process.get("start") or seen[_STATE] in "ZX")


def is_here(process: Mapping[str, Any]) -> bool:
    """Say whether this process runs, or ran, where we can look at it: in this boot, its number counted as ours."""
    return all(process.get(name) == value for name, value in _here().items())


def _here() -> dict[str, Any]:
    return {"boot": BOOT_ID.read_text(encoding="ascii").strip(), "namespace": str(PID_NAMESPACE.readlink())}


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
