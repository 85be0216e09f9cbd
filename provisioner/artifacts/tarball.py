"""Members of tar archives with every field fixed that a machine could colour: the same files give the same bytes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def add(archive: tarfile.TarFile, name: str, content: bytes | Path, mode: int = 0o644) -> None:
    """Add a file that has these bytes, or those of the file at this path."""
    if isinstance(content, bytes):
        archive.addfile(member(name, tarfile.REGTYPE, mode=mode, size=len(content)), io.BytesIO(content))
        return
    with content.open("rb") as handle:
        archive.addfile(member(name, tarfile.REGTYPE, mode=mode, size=content.stat().st_size), handle)


def member(name: str, kind: bytes, *, mode: int = 0o777, size: int = 0, link: str = "") -> tarfile.TarInfo:
    """Return a member of owner 0, without names, of time 0."""
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.size, made.linkname, made.mtime = kind, mode, size, link, 0
    return made
