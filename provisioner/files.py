"""Files of this machine written whole: a reader, also after a crash, meets the old bytes or the new, never a part.

The applier has its own, as it is shipped to hosts alone; so has lab/launch.py, a script without this package.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, data: str | bytes, mode: int = 0o600) -> None:
    """Write a file beside `path`, for its owner alone, sync it, and give it its mode and its name in one rename.

    Safe for several writers at once; the last one's bytes stay. Raises OSError, and then leaves what was there.
    """
    with whole(path, mode) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def whole(path: Path, mode: int = 0o600, *, new: bool = False) -> Iterator[BinaryIO]:
    """Give a stream for the bytes of `path`, which gets them all, or keeps what it had where the block fails.

    A `new` one takes nobody's place: FileExistsError where something of that name has come to be meanwhile.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        if new:
            os.link(temporary, path, follow_symlinks=False)
        else:
            temporary.replace(path)
        sync_directory(path.parent)     # the name too
    finally:
        temporary.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
