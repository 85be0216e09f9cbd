"""What a host's files set at boot, in the order of systemd-sysctl: a later line wins."""

from __future__ import annotations

import fnmatch
import os
from typing import Iterator, Sequence

from .host import Host

# sysctl.d(5): a file hides those of the same name in later directories; all are read in the order of their names.
DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
SAME = {"net.ipv4.conf.all.forwarding": "net.ipv4.ip_forward"}     # two names of one switch


def lines(host: Host, keys: Sequence[str]) -> list[list[str]]:
    """Return [file, key, value] for every line that sets one of `keys`, in the order in which they are read at boot."""
    return [[path, key, value] for path in files(host) for name, value in settings(host.text(path) or "")
            for key in keys if fnmatch.fnmatchcase(key, SAME.get(name, name))]


def files(host: Host) -> list[str]:
    """Return the files that are read, in their order."""
    found: dict[str, str] = {}
    for directory in DIRECTORIES:
        for name in _names(host.at(directory)):
            if name.endswith(".conf"):
                found.setdefault(name, f"{directory}/{name}")
    return [found[name] for name in sorted(found)]


def settings(text: str) -> Iterator[tuple[str, str]]:
    """Read the lines `key = value`; a `-` in front lets it fail, and slashes may stand for dots."""
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        name = name.strip().lstrip("-").strip()
        if equals and name and name[0] not in "#;":
            first = next((c for c in name if c in "./"), ".")
            yield name.translate(str.maketrans("./", "/.")) if first == "/" else name, " ".join(value.split())


def _names(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except OSError:
        return []
