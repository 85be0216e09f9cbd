"""Files for their owner alone."""

from __future__ import annotations

from pathlib import Path

from provisioner.artifacts.cache import write_atomic
from provisioner.errors import UsageFault


def write(file: Path, text: str, what: str) -> None:
    """Write a file whole or not at all, 0600 from its first moment; an old one is replaced.

    Raises UsageFault, which says that `what` could not be written there.
    """
    try:
        write_atomic(file, text, 0o600)
    except OSError as fault:
        raise UsageFault(f"{file}: writing {what}: {fault.strerror}") from None
