"""A file system of a host, as it is judged before a run (`check`) and while the cluster runs (`doctor`)."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class FileSystem:
    """A file system with those of the asked directories that lie on it, in bytes; `free` is without root's reserve."""

    paths: tuple[str, ...]
    size: int
    used: int
    free: int
    inodes: int = 0                     # 0: it makes them as it needs them
    inodes_free: int = 0
    read_only: bool = False
    no_exec: bool = False               # mounted such that no program on it runs

    @property
    def size_mib(self) -> int:
        return self.size // MIB

    @property
    def free_mib(self) -> int:
        return self.free // MIB

    @property
    def share(self) -> float:
        """Return how much of what may be used is in use, of 1; the rest is kept for root."""
        return self.used / (self.used + self.free) if self.used + self.free else 0.0
