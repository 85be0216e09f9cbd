"""Files changed so that a crash at any instant leaves the old bytes or the new ones, never a half."""

from __future__ import annotations

import errno
import grp
import json
import os
import pwd
import stat
from typing import Any

SUFFIX = ".kubewright-tmp"
_MISSING = (FileNotFoundError, NotADirectoryError)


def read(path: str) -> tuple[bytes, os.stat_result]:
    """Return the bytes and the status of one and the same regular file; a symlink is not followed."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as stream:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path}: not a regular file")
        return stream.read(), status


def write(path: str, data: bytes, mode: int = 0o600, uid: int = -1, gid: int = -1) -> None:
    """Put a file in place: secret from creation, owned and synced before the rename makes it visible."""
    finish(prepare(path, data, mode, uid, gid), path)


def prepare(path: str, data: bytes, mode: int, uid: int = -1, gid: int = -1) -> str:
    """Write the temporary file beside `path`, complete and synced, and return its name."""
    make_parents(path)
    temp = temp_of(path)
    remove(temp)
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
        settle(fd, len(data))
    except OSError:
        remove(temp)  # the disk is full, say: what was there keeps its name and its bytes
        raise
    finally:
        os.close(fd)
    return temp


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of the bytes: one call may take only some of them, and does where a disk is about to be full."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def settle(fd: int, size: int) -> None:
    """Make a file durable that has been written, and raise OSError where it is not of this size."""
    os.fsync(fd)
    found = os.fstat(fd).st_size
    if found != size:
        raise OSError(errno.EIO, f"{found} of {size} bytes were written")


def finish(temp: str, path: str) -> None:
    """Rename the prepared file to its final name and make the name durable; a symlink there is replaced."""
    try:
        os.rename(temp, path)
    except OSError:
        remove(temp)  # a directory stands in the way
        raise
    sync_directory(os.path.dirname(path))


def write_json(path: str, value: Any) -> None:
    """Put a small JSON document in place, readable by root only."""
    write(path, json.dumps(value, sort_keys=True).encode() + b"\n")


def read_json(path: str) -> Any:
    """Return a JSON document, or None where there is none or it is torn (a power cut)."""
    try:
        with open(path, "rb") as stream:
            return json.loads(stream.read())
    except (OSError, ValueError):
        return None


def known(path: str) -> dict[str, Any]:
    """Return a JSON object, empty where there is none; what cannot be read raises: it must not pass for nothing."""
    try:
        with open(path, "rb") as stream:
            value = json.loads(stream.read())
    except FileNotFoundError:
        return {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: torn, or not ours; when no run and no step is at work, remove it and go on")
    return value


def symlink(path: str, target: str) -> None:
    """Put a symbolic link in place in one rename."""
    make_parents(path)
    temp = temp_of(path)
    remove(temp)
    os.symlink(target, temp)
    finish(temp, path)


def directory(path: str, mode: int, uid: int, gid: int) -> None:
    """Make a directory appear with its mode and owner at once, or correct those of one that is there."""
    make_parents(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        _new_directory(path, mode, uid, gid)
        return
    try:
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)


def _new_directory(path: str, mode: int, uid: int, gid: int) -> None:
    temp = temp_of(path)
    remove(temp)
    os.mkdir(temp, 0o700)
    os.chown(temp, uid, gid)
    os.chmod(temp, mode)
    finish(temp, path)


def remove(path: str) -> bool:
    """Remove a file, a link or an empty directory, and say whether there was one."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.rmdir(path)
        else:
            os.unlink(path)
    except _MISSING:
        return False
    sync_directory(os.path.dirname(path))
    return True


def remove_all(path: str) -> None:
    """Remove a file, a link, or a directory with all that is in it; no link in it is followed."""
    try:
        tree = stat.S_ISDIR(os.lstat(path).st_mode)
    except _MISSING:
        return
    if not tree:
        remove(path)
        return
    import shutil  # 6 ms that only a step with something to remove pays
    shutil.rmtree(path)
    sync_directory(os.path.dirname(path))


def temp_of(path: str) -> str:
    """Return the temporary name beside `path`: fixed, so that a killed run's left-over is found; hidden from globs."""
    head, tail = os.path.split(path)
    return os.path.join(head, "." + tail + SUFFIX)


def make_parents(path: str) -> None:
    """Create what is missing of the directories above `path`, 0755; others' modes are items of their own."""
    parent = os.path.dirname(path)
    if os.path.isdir(parent):
        return
    make_parents(parent)
    try:
        os.mkdir(parent, 0o755)  # main sets the umask that lets this through
    except FileExistsError:
        return
    sync_directory(os.path.dirname(parent))


def private_directory(path: str) -> str:
    """Create a directory that only root reads, as are those above it that are missing, and return it."""
    if not os.path.isdir(path):
        parent = private_directory(os.path.dirname(path))
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            return path
        sync_directory(parent)
    return path


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def ids(owner: str, group: str) -> tuple[int, int]:
    """Return uid and gid of names (or numbers); KeyError says which name the host does not have."""
    uid = int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid
    gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    return uid, gid


def owner_of(status: os.stat_result) -> str:
    """Return `owner:group`, in names where the host has names for them."""
    try:
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        owner = str(status.st_uid)
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return f"{owner}:{group}"
