"""Whose a file is: ours, as a package brought it, or somebody's whom nobody has asked yet."""

from __future__ import annotations

import hashlib
import os
from typing import Mapping, Sequence

from . import files, generations
from .host import Host

NOT_OURS = "somebody put it there"


def look(host: Host, paths: Sequence[str]) -> dict[str, str]:
    """Return the paths where something is that neither we nor a package left so, each with whose it is.

    What we ever changed has a generation; what a package brought is what dpkg remembers of it.
    """
    there = [path for path in paths if os.path.lexists(host.at(path)) and not generations.has(host, path)]
    known = _conffiles(host) if there else {}
    told = {path: _whose(host, path, known) for path in there}
    return {path: whose for path, whose in told.items() if whose}


def files_in(host: Host, directories: Sequence[str]) -> list[str]:
    """Return the files of these directories that we never put there."""
    found = []
    for directory in directories:
        names = os.listdir(host.at(directory)) if os.path.isdir(host.at(directory)) else []
        found += [path for path in (f"{directory}/{name}" for name in sorted(names)) if not generations.has(host, path)]
    return found


def _whose(host: Host, path: str, known: Mapping[str, Sequence[str]]) -> str:
    package, digest = known.get(path, ("", ""))
    if not package:
        return NOT_OURS
    try:
        now = hashlib.md5(files.read(host.at(path))[0]).hexdigest()  # noqa: S324 - dpkg's own digest
    except OSError:
        now = ""
    return "" if now == digest else f"somebody has changed what package {package} put there"


def _conffiles(host: Host) -> dict[str, list[str]]:
    """Return the package and the digest of every configuration file as its package brought it."""
    form = "--showformat=${Package}\n${Conffiles}\n"
    found: dict[str, list[str]] = {}
    package = ""
    for line in host.run(["dpkg-query", "--show", form], check=False).splitlines():
        if line.startswith(" "):
            words = line.split()
            found[words[0]] = [package, words[1]]
        elif line:
            package = line
    return found
