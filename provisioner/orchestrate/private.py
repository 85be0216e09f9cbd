"""Files for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

from provisioner.errors import UsageFault


def write(file: Path, text: str, what: str) -> None:
    """Write a file whole or not at all, 0600 from its first moment; an old one is replaced.

    Raises UsageFault, which says that `what` could not be written there.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as target:
            target.write(text)
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(file)
    except OSError as fault:
        temporary.unlink(missing_ok=True)
        raise UsageFault(f"{file}: writing {what}: {fault.strerror}") from None
