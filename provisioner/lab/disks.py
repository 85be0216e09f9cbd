"""A node's disk: layers of its own over the shared image, of which only the newest is ever written to.

What a snapshot keeps is therefore no copy: a node that goes on gets one more layer, and the older ones stay as is.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from provisioner.lab import mounts
from provisioner.lab.instance import Instance
from provisioner.lab.processes import run

COPY_SECONDS = 300.0
_GET_FLAGS, _SET_FLAGS, _TOP_DIRECTORY = 0x80086601, 0x40086602, 0x20000     # linux/fs.h: FS_IOC_*, FS_TOPDIR_FL


def layers_dir(instance: Instance) -> Path:
    """Return the directory that holds every layer of the instance, whoever stands on it."""
    return instance.state_dir / "layers"


def add_layer(instance: Instance, host: str) -> str:
    """Make an empty layer for a node and return its name, which no other ever had."""
    name = f"{host}-{secrets.token_hex(4)}"
    layers_dir(instance).mkdir(parents=True, exist_ok=True)
    _keep_apart(layers_dir(instance))
    for directory in (layers_dir(instance) / name, upper(instance, name), _work(instance, name)):
        directory.mkdir(parents=True)
        directory.chmod(0o755)      # the layer's mode is the mode of the node's /, whatever our umask is
    return name


def _keep_apart(directory: Path) -> None:
    """Let ext4 give each directory made in this one a part of the disk of its own; other file systems need no telling.

    Without a journal it does not take the number of a file that was deleted in the last minutes, and looks at each of
    them for each new file. Where the layers of the nodes before had just been deleted in the same part, that was 8 of
    the 104 s of processor time of an `up` (benchmarks/up.py, perf).
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            flags = int.from_bytes(fcntl.ioctl(fd, _GET_FLAGS, bytes(8)), "little")
            fcntl.ioctl(fd, _SET_FLAGS, (flags | _TOP_DIRECTORY).to_bytes(8, "little"))
    finally:
        os.close(fd)


def upper(instance: Instance, layer: str) -> Path:
    """Return the directory that holds what this layer changes."""
    return layers_dir(instance) / layer / "upper"


def _work(instance: Instance, layer: str) -> Path:
    return layers_dir(instance) / layer / "work"


def are_whole(instance: Instance, layers: Sequence[str]) -> bool:
    """Say whether there is a disk: one layer at least, and none is missing."""
    return bool(layers) and all(upper(instance, layer).is_dir() for layer in layers)


def mount(instance: Instance, layers: Sequence[str], image_root: Path, target: Path) -> None:
    """Mount a disk: its layers, the newest first, over the image."""
    newest, *older = layers
    mounts.mount_overlay([*(upper(instance, layer) for layer in older), image_root], upper(instance, newest),
                         _work(instance, newest), target)


def read(instance: Instance, layers: Sequence[str], path: str) -> str:
    """Return the text of a file that the node's own layers hold, also where the disk is not mounted; else nothing.

    Where a newer layer took it away, the kernel left a device of that name there.
    """
    for layer in layers:
        file = upper(instance, layer) / path
        if file.is_file():
            return file.read_text().strip()
        if file.exists():
            return ""
    return ""


def has(instance: Instance, layers: Sequence[str], path: str) -> bool:
    """Say whether any of the node's own layers holds a directory; one that was deleted meanwhile counts."""
    return any((upper(instance, layer) / path).is_dir() for layer in layers)


def copy_tree(source: Path, target: Path, shared: Sequence[str] = ()) -> None:
    """Copy a directory with owners, links, devices and attributes.

    Files below `shared` are never written to again, so both have the same ones: that saves most of the bytes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    how = ["--link"] if shared else ["--reflink=auto"]
    run(["cp", "--archive", *how, "--no-target-directory", str(source), str(target)], doing=f"copying {source}",
        seconds=COPY_SECONDS)
    kept = [target / path for path in shared]
    for directory, names, files in os.walk(target) if shared else ():
        names[:] = [name for name in names if Path(directory) / name not in kept]
        for name in files:
            _make_own(Path(directory) / name)


def _make_own(path: Path) -> None:
    """Replace a file that is another's too by a copy; only what is written to in place has to be."""
    status = path.lstat()
    if stat.S_ISREG(status.st_mode):
        temporary = path.with_name(f".{path.name}.own")
        shutil.copy2(path, temporary)
        os.chown(temporary, status.st_uid, status.st_gid)
        temporary.replace(path)


def remove_others(instance: Instance, kept: Iterable[str]) -> None:
    """Delete every layer that is not one of `kept`."""
    needed = set(kept)
    directory = layers_dir(instance)
    for layer in directory.iterdir() if directory.is_dir() else ():
        if layer.name not in needed:
            mounts.remove_tree(layer)
