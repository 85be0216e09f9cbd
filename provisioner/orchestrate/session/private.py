"""Files for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

from provisioner.errors import UsageFault
from provisioner.files import write_whole


def check(file: Path, what: str) -> None:
    """See that a file can be written, before the work whose result it shall hold.

    Raises UsageFault, which says that `what` could not be written there, and that no host was asked.
    """
    place = file.parent
    why = ("there is no such directory" if not place.is_dir() else
           "not writable" if not os.access(place, os.W_OK | os.X_OK) else "")
    if why:
        raise UsageFault(f"{file}: writing {what}: {place}: {why}", details=["no host was asked"])


def make_directory(place: Path, what: str) -> None:
    """Make a directory and those above it, 0700; one that is there stays as it is.

    Raises UsageFault, which says that `what` could not be written there, and that no host was asked.
    """
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        raise UsageFault(f"{place}: writing {what}: {fault.strerror}", details=["no host was asked"]) from None


def write(file: Path, data: str | bytes, what: str) -> None:
    """Write a file whole or not at all, 0600 from its first moment; an old one is replaced.

    Raises UsageFault, which says that `what` could not be written there.
    """
    try:
        write_whole(file, data)
    except OSError as fault:
        raise UsageFault(f"{file}: writing {what}: {fault.strerror}") from None
