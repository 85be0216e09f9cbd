"""Large files by digest: taken from a stream, checked before they get their name, hashed once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import mmap
import os
import stat
from typing import Any, BinaryIO, Iterator, Mapping, Protocol, cast

from . import fence, files, selinux
from .host import Fault, Host

CHUNK = 1 << 20
REFUSED = "bytes refused, nothing of them kept: "
STORE = "/opt/kubewright"      # a directory of its own in the plan; those below it come with what is streamed


class Incoming(Protocol):
    """Where an artifact's bytes come from."""

    def readinto(self, part: memoryview) -> int:
        """Fill all of `part`, less only where the stream ends; return how much."""


class Known:
    """Digests of artifacts remembered with what moves when a file changes: size, times, inode."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._path = host.own("artifacts.json")
        known = files.read_json(self._path)
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}

    def digest(self, path: str, status: os.stat_result) -> str:
        """Return the SHA-256 of a file, read again only when it may have changed."""
        entry = self._known.get(path)
        if isinstance(entry, dict) and entry.get("mark") == _mark(status):
            return str(entry.get("sha256"))
        return _digest(self._host.at(path))

    def remember(self, digests: Mapping[str, str]) -> None:
        """Add digests and drop files that are gone; a lost memory costs one hash, never a wrong answer."""
        files.private_directory(os.path.dirname(self._path))
        with open(self._path + ".lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held for one small write, by streams to the same host
            known = files.read_json(self._path)
            merged = known if isinstance(known, dict) else {}
            for path, digest in digests.items():
                merged[path] = {"sha256": digest, "mark": _mark(os.stat(self._host.at(path)))}
            files.write_json(self._path, {p: e for p, e in merged.items() if os.path.exists(self._host.at(p))})


def _digest(place: str) -> str:
    """Hash a file as it is there now.

    Through the kernel's cache: most of it is started or imported next. Read past it, which costs a virtual machine less
    processor time, `up` took 57.0 s in place of 54.8 (medians of three, benchmarks/up.py).
    """
    digest = hashlib.sha256()
    with open(place, "rb", buffering=0) as file, memoryview(bytearray(CHUNK)) as buffer:
        while True:
            got = file.readinto(buffer)
            if not got:
                return digest.hexdigest()
            digest.update(buffer[:got])


def odd_parents(host: Host, path: str) -> list[tuple[str, os.stat_result]]:
    """Return the directories of our store above `path` in which not only we can put another file in its place."""
    odd = []
    place = os.path.dirname(path)
    while place.startswith(STORE + "/"):
        status = os.stat(host.at(place))
        if stat.S_IMODE(status.st_mode) & 0o022 or status.st_uid != os.geteuid():
            odd.append((place, status))
        place = os.path.dirname(place)
    return odd


def _close_parents(host: Host, path: str) -> None:
    """Make the directories of our store ours again; what is streamed into them after this is as it was sent."""
    for place, _ in odd_parents(host, path):
        files.directory(host.at(place), 0o755, os.geteuid(), os.getegid())


def remove_empty_above(host: Host, path: str) -> None:
    """Remove the directories of our store above a file that is gone, as far as nothing is in them."""
    place = os.path.dirname(path)
    while place.startswith(STORE + "/") and not os.listdir(host.at(place)):
        files.remove(host.at(place))
        place = os.path.dirname(place)


def _mark(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def store(host: Host, stream: BinaryIO) -> dict[str, Any]:
    """Take the artifacts announced in the first line; those whose bytes are wrong are told in one Fault at the end."""
    head = json.loads(stream.readline())
    fenced = fence.refusal(host, head)
    if fenced is not None:
        return fenced
    wanted = head["artifacts"]
    from . import owned
    owned.note_stored(host, [entry["path"] for entry in wanted], str(head.get("step", "")))
    refused = [why for why in (take(host, entry, cast(Incoming, stream)) for entry in wanted) if why]
    if refused:
        raise Fault(REFUSED + "; ".join(refused))
    return {"stored": [entry["path"] for entry in wanted]}


def take(host: Host, entry: Mapping[str, Any], stream: Incoming) -> str:
    """Take one artifact from a stream and give it its name; return why not where its bytes are others."""
    path = host.at(entry["path"])
    files.make_parents(path)
    _close_parents(host, entry["path"])
    with _temporary(path) as (temp, fd):
        _receive(entry, stream, fd)
        digest = _digest(temp)      # of what is in the file now, not of what was sent
        if digest != entry["sha256"]:
            return f"{entry['path']}: sha256 {digest}, expected {entry['sha256']}"
        # Before it has its name: what has it counts as done. In our store the two names have the same label.
        selinux.label(host, [os.path.join(os.path.dirname(entry["path"]), os.path.basename(temp))])
        files.finish(temp, path)
    Known(host).remember({entry["path"]: digest})
    return ""


def _receive(entry: Mapping[str, Any], stream: Incoming, fd: int) -> None:
    """Copy one artifact of the stream, whole and synced, ours and with its mode.

    Past the kernel's cache where the file system can: the host's memory is not filled with what nobody reads yet, and
    what is read back to be hashed comes from the disk.
    """
    left = int(entry["size"])
    with contextlib.suppress(OSError):
        _set_direct(fd, True)
    with memoryview(mmap.mmap(-1, CHUNK)) as buffer:        # begins with a page, as such writes must
        while left:
            part = buffer[:min(CHUNK, left)]
            got = stream.readinto(part)
            if got < len(part):
                raise Fault(f"{entry['path']}: the stream ended {left - got} bytes early")
            _write(fd, part)
            left -= got
    os.fchown(fd, os.geteuid(), os.getegid())       # a directory's setgid bit has no say in it
    os.fchmod(fd, int(entry.get("mode", 0o755)))
    files.settle(fd, int(entry["size"]))


def _write(fd: int, part: memoryview) -> None:
    """Write the next bytes of a file; through the cache where they are no whole blocks, or none that the disk takes."""
    begins = os.lseek(fd, 0, os.SEEK_CUR)
    try:
        if len(part) % mmap.PAGESIZE:
            _set_direct(fd, False)
        files.write_all(fd, part)
    except OSError as fault:
        if fault.errno != errno.EINVAL:
            raise
        _set_direct(fd, False)
        os.lseek(fd, begins, os.SEEK_SET)
        files.write_all(fd, part)


def _set_direct(fd: int, direct: bool) -> None:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if direct else flags & ~os.O_DIRECT)


@contextlib.contextmanager
def _temporary(path: str) -> Iterator[tuple[str, int]]:
    """Make a file beside `path` that is gone at the end unless it was renamed.

    Two operators may stream the same file at once: each has a name of its own, and holds its lock while it lives.
    """
    _sweep(path)
    temp = f"{files.temp_of(path)}.{os.getpid()}"
    fd = _locked(temp)
    try:
        yield temp, fd
    finally:
        files.remove(temp)
        os.close(fd)


def _locked(temp: str) -> int:
    """Create the file and lock it; what a sweeper took between the two is created again."""
    while True:
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.path.exists(temp):
            return fd
        os.close(fd)


def _sweep(path: str) -> None:
    """Remove what dead streams left beside the file: they hold no lock any more, whoever has their pid now."""
    head, tail = os.path.split(files.temp_of(path))
    for name in os.listdir(head):
        if name.startswith(tail + "."):
            _remove_unlocked(os.path.join(head, name))


def sweep_all(place: str) -> None:
    """Remove what dead streams and steps left in a directory that goes, so that it is empty of what is ours."""
    for name in os.listdir(place):
        temp = os.path.join(place, name)
        if not name.startswith(".") or f"{files.SUFFIX}." not in f"{name}.":
            continue
        if os.path.isfile(temp) and not os.path.islink(temp):
            _remove_unlocked(temp)
        else:
            files.remove_all(temp)


def _remove_unlocked(temp: str) -> None:
    with contextlib.suppress(FileNotFoundError):        # its stream has just ended
        fd = os.open(temp, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            files.remove(temp)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
