"""The example as a person would use it: with a key of their own in place of those that nobody has."""

from __future__ import annotations

import re
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "inventories" / "example" / "cluster.yaml"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAiUKfncuWSokX3LVyysFBQf4zzgKKxGumVZPqiKkGca"


def text() -> str:
    """Return the example's text with one operator."""
    found = EXAMPLE.read_text(encoding="utf-8")
    return re.sub(r"\n  - ssh-ed25519 \S+ alice@\S+\n  - ssh-ed25519 \S+ bob@\S+\n", f"\n  - {KEY} me\n", found)


def copy(directory: Path) -> Path:
    """Write it into a directory, and return that."""
    (directory / "cluster.yaml").write_text(text(), encoding="utf-8")
    return directory
