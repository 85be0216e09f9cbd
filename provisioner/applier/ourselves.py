"""The program itself as a host keeps it for its steps: under the digest of what was sent, with compiled code beside the
sources.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import stat
from typing import Iterator

from . import files
from .host import Host

KEEP = 5
_NEVER_COMPARED = (1).to_bytes(4, "little")     # PEP 552: code by its source's hash, which nobody looks at
_SEAL = len(importlib.util.MAGIC_NUMBER) + 32


def keep(host: Host) -> str:
    """Keep the program that we run as, drop those of long ago, and return its path; `alone` must be held."""
    data = _ourselves()
    path = f"{host.own('applier')}/{hashlib.sha256(data).hexdigest()}.pyz"
    if not _is_sound(path):
        files.write(path, compiled(data))
    os.utime(path)
    kept = sorted((entry for entry in os.scandir(os.path.dirname(path)) if entry.name.endswith(".pyz")),
                  key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
    for entry in kept[KEEP:]:
        files.remove(entry.path)
    return path


@contextlib.contextmanager
def alone(host: Host) -> Iterator[None]:
    """Keep others from starting steps; for a few small writes and systemd's answer."""
    place = files.private_directory(host.own("applier"))
    guard = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(guard, os.geteuid(), os.getegid())        # ours alone again, whoever loosened it
        os.fchmod(guard, 0o700)
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield
    finally:
        os.close(guard)


def compiled(data: bytes) -> bytes:
    """Return a zipapp with this Python's code beside its sources, and a seal at its end.

    zipimport takes NAME.pyc before NAME.py, and the source where the code is another Python's.
    """
    import io  # all three for the first call of a version alone
    import marshal
    import zipfile
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as sent, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in [name for name in sent.namelist() if name.endswith(".py")]:
            source = sent.read(name)
            code = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
            head = importlib.util.MAGIC_NUMBER + _NEVER_COMPARED + importlib.util.source_hash(source)
            archive.writestr(zipfile.ZipInfo(name), source, zipfile.ZIP_DEFLATED)
            archive.writestr(zipfile.ZipInfo(name + "c"), head + code, zipfile.ZIP_DEFLATED)
        archive.comment = bytes(_SEAL)
    body = buffer.getvalue()[:-_SEAL]
    return body + _seal(body)


def _seal(body: bytes) -> bytes:
    return importlib.util.MAGIC_NUMBER + hashlib.sha256(body).digest()


def _is_sound(path: str) -> bool:
    """Say whether a copy is whole, of this Python, and nobody else can have written it."""
    try:
        place = os.lstat(os.path.dirname(path))
        data, status = files.read(path)
    except OSError:
        return False
    ours = all(s.st_uid == os.geteuid() and not s.st_mode & 0o022 for s in (place, status))
    return ours and stat.S_ISDIR(place.st_mode) and data[-_SEAL:] == _seal(data[:-_SEAL])


def _ourselves() -> bytes:
    """Return the program as it was sent."""
    archive = getattr(globals().get("__loader__"), "archive", None)
    if archive is None:
        from .package import build_zipapp  # we run from sources: only tests do
        return build_zipapp()
    with open(archive, "rb") as stream:
        return stream.read()
