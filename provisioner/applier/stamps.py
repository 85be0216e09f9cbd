"""What a unit started with: the Python twin of /opt/kubewright/bin/stamp, which writes the same at every start."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any, Mapping, Optional, Sequence

from . import files
from .host import Host, check_unit

STARTED = "/run/kubewright/started"
INPUTS = "/etc/kubewright/inputs"


def inputs_of(host: Host, unit: str, spec: Mapping[str, Any]) -> Sequence[str]:
    """Return what the unit reads when it starts: as the caller says, or with `listed` as the host's own list says.

    Where files were put back, only the host's list, put back with them, says what counts.
    """
    if spec.get("listed"):
        return (host.text(f"{INPUTS}/{check_unit(unit)}") or "").splitlines()
    inputs: Sequence[str] = spec.get("inputs", ())
    return inputs


class Sums:
    """SHA-256 of files, each read once: the same file is often an item and an input of several units."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, str] = {}

    def put(self, path: str, digest: str) -> None:
        """Remember the digest of a file that was just read."""
        self._known[path] = digest

    def get(self, path: str) -> str:
        """Return the digest of a regular file."""
        if path not in self._known:
            data, _ = files.read(self._host.at(path))
            self._known[path] = hashlib.sha256(data).hexdigest()
        return self._known[path]


def line(host: Host, path: str, sums: Sums) -> str:
    """Return the stamp's line of one input; a symlink counts by its target, so a large binary costs nothing."""
    try:
        mode = os.lstat(host.at(path)).st_mode
        if stat.S_ISLNK(mode):
            return f"link {os.readlink(host.at(path))} {path}"
        if stat.S_ISREG(mode):
            return f"file {sums.get(path)} {path}"
    except OSError:
        pass  # it went away, or cannot be read: the same as not there, for the program and for its twin
    return f"none - {path}"


def lines(host: Host, inputs: Sequence[str], sums: Sums) -> list[str]:
    """Return the stamp's lines as they would be written now."""
    return [line(host, path, sums) for path in inputs]


def recorded(host: Host, unit: str) -> Optional[list[str]]:
    """Return the lines of the unit's last start, or None where no start was recorded since boot."""
    text = host.text(f"{STARTED}/{check_unit(unit)}")
    return None if text is None else text.splitlines()


def started(host: Host, unit: str, paths: Sequence[str]) -> dict[str, str]:
    """Return the stamp's lines of some inputs, by path and without it: what the unit's last start found there."""
    stamp = recorded(host, unit) or []
    found = ((path, text[:-len(path) - 1]) for path in paths for text in stamp if text.endswith(f" {path}"))
    return dict(found)


def compare(host: Host, unit: str, inputs: Sequence[str], sums: Sums) -> tuple[bool, list[str]]:
    """Say whether the unit started with its inputs as they are now, and the paths that differ.

    A unit that was never stamped is due with no path named. A unit without inputs is always current.
    """
    if not inputs:
        return True, []
    stamp = recorded(host, unit)
    if stamp is None:
        return False, []
    now = lines(host, inputs, sums)
    if now == stamp:
        return True, []
    was = set(stamp)
    causes = [path for path, text in zip(inputs, now) if text not in was]
    return False, causes or [f"{INPUTS}/{unit}"]
