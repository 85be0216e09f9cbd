"""The file systems of directories: room, inodes, how they are mounted; what is mounted below a place."""

from __future__ import annotations

import os
from typing import Any, Sequence

from . import mounts
from .host import Host


def look(host: Host, directories: Sequence[str]) -> list[dict[str, Any]]:
    """Return the file systems of the directories, or of their nearest parents where they do not exist yet."""
    found: dict[int, dict[str, Any]] = {}
    for directory in directories:
        place = nearest(host.at(directory))
        room = os.statvfs(place)
        one = found.setdefault(os.stat(place).st_dev, {
            "paths": [], "size": room.f_blocks * room.f_frsize, "free": room.f_bavail * room.f_frsize,
            "used": (room.f_blocks - room.f_bfree) * room.f_frsize,
            "inodes": room.f_files, "inodes_free": room.f_favail,
            "read_only": bool(room.f_flag & os.ST_RDONLY), "no_exec": bool(room.f_flag & os.ST_NOEXEC)})
        one["paths"].append(directory)
    return list(found.values())


def nearest(place: str) -> str:
    """Return the directory, or the nearest above it that is there."""
    while not os.path.isdir(place) and len(place) > 1:
        place = os.path.dirname(place)
    return place


def mounted_below(host: Host, directories: Sequence[str]) -> list[str]:
    """Return what is mounted below the directories, not at them: Pods' volumes and the like."""
    return sorted({place for place in mounts.mounts(host)
                   for directory in directories if place.startswith(f"{directory}/")})
