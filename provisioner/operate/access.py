"""The way to a server of the cluster that wants to know who we are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Access:
    """Where a server answers (a tunnel's local end) and who we are there: files that lie 0600 in the run directory."""

    address: tuple[str, int]
    ca_file: Path
    cert_file: Path
    key_file: Path
