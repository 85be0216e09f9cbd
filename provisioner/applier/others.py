"""Whose a file is: ours, as a package brought it, or somebody's whom nobody has asked yet."""

from __future__ import annotations

import hashlib
import os
from typing import Mapping, Sequence

from . import files, generations, managers
from .host import Host

NOT_OURS = "somebody put it there"


def look(host: Host, paths: Sequence[str]) -> dict[str, str]:
    """Return the paths where something is that neither we nor a package left so, each with whose it is.

    What we ever changed has a generation; what a package brought, the package manager remembers.
    """
    there = [path for path in paths if os.path.lexists(host.at(path)) and not generations.has(host, path)]
    known = managers.of(host).brought(host, there) if there else {}
    told = {path: _whose(host, path, known) for path in there}
    return {path: whose for path, whose in told.items() if whose}


def files_in(host: Host, directories: Sequence[str]) -> list[str]:
    """Return the files of these directories that we never put there."""
    found = []
    for directory in directories:
        names = os.listdir(host.at(directory)) if os.path.isdir(host.at(directory)) else []
        found += [path for path in (f"{directory}/{name}" for name in sorted(names)) if not generations.has(host, path)]
    return found


def _whose(host: Host, path: str, known: Mapping[str, managers.Brought]) -> str:
    brought = known.get(path)
    if brought is None:
        return NOT_OURS
    try:
        now = hashlib.new(brought.algorithm, files.read(host.at(path))[0]).hexdigest()
    except OSError:
        now = ""
    return "" if now == brought.digest else f"somebody has changed what package {brought.package} put there"
