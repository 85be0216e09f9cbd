"""A build that writes a synthetic executable: no Go, no network."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import Catalogue
from provisioner.model.events import Event


def executable(machine: int = 62, *, body: bytes = b"code", interpreter: bool = False) -> bytes:
    """Return a whole ELF file with one segment and no sections."""
    segment = struct.pack("<IIQQQQQQ", 3 if interpreter else 1, 5, 0, 0, 0, 0, 0, 4096)
    section = bytes(64)
    offset = 64 + len(segment) + len(body)
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01" + bytes(9), 2, machine, 1, 0, 64, offset, 0, 64, 56,
                       1, 64, 1, 0)
    return head + segment + body + section


@dataclass
class Workshop:
    """The fake build: what it writes, and how often it was asked."""

    catalogue: Catalogue
    cache: Cache
    content: bytes = field(default_factory=executable)
    builds: int = 0
    events: list[Event] = field(default_factory=list)

    def build(self, component: object, version: str, arch: str, toolchain: str, work: Path,
              progress: Callable[[str], None]) -> dict[str, Path]:
        self.builds += 1
        progress("building tool")
        target = work / "tool"
        target.write_bytes(self.content)
        return {"tool": target}
