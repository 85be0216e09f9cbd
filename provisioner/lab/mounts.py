"""Mounts below a directory: found in mountinfo, taken off from the deepest up, never followed by a delete."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from provisioner.errors import KubewrightError
from provisioner.lab.processes import run

REMOVE_SECONDS = 10.0
MOUNTINFO = Path("/proc/self/mountinfo")


def parse_mountinfo(text: str) -> tuple[str, ...]:
    """Return the mount points in mount order; the kernel writes blanks in paths as octal."""
    points = (line.split()[4] for line in text.splitlines() if line.strip())
    return tuple(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), point) for point in points)


def below(points: tuple[str, ...], directory: Path) -> tuple[str, ...]:
    """Return the mount points at or under `directory`, in the order in which they can be taken off."""
    inside = [p for p in points if p == str(directory) or p.startswith(f"{directory}/")]
    return tuple(reversed(inside))


def mounted_below(directory: Path) -> tuple[str, ...]:
    """Return what is mounted at or under `directory` now."""
    return below(parse_mountinfo(MOUNTINFO.read_text()), directory)


def unmount_below(directory: Path) -> int:
    """Take off every mount at or under `directory`; the last resort is a lazy one, for a file that is still open."""
    points = mounted_below(directory)
    for point in points:
        try:
            run(["umount", "--no-canonicalize", point], doing=f"unmounting {point}")
        except KubewrightError:
            if point in mounted_below(directory):
                run(["umount", "--lazy", "--no-canonicalize", point], doing=f"unmounting {point}")
    return len(points)


def remove_tree(directory: Path) -> None:
    """Delete a directory of ours; refuses while anything is mounted in it, so that no mount is ever emptied."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while directory.exists():
        unmount_below(directory)
        remaining = mounted_below(directory)
        if remaining:
            raise KubewrightError(f"this machine: removing {directory}: still mounted: {', '.join(remaining)}",
                                  hint="kubewright lab down", code="lab-still-mounted")
        try:
            shutil.rmtree(directory)
        except OSError as error:      # a child of a killed command may still be writing or mounting: look again
            if time.monotonic() > deadline:
                raise KubewrightError(f"this machine: removing {directory}: {error}", hint="kubewright lab down",
                                      code="lab-still-used") from error
            time.sleep(0.1)


def mount_overlay(lower: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
    """Mount a node's disk: the layer that it writes to over those that it only reads, the uppermost first."""
    for directory in (*lower, upper, work):
        if set(str(directory)) & set(":,\\"):
            raise KubewrightError(f"this machine: mounting a node's disk: {directory} has a character that overlayfs "
                                  "cannot take in a path (colon, comma or backslash)", code="lab-overlay-path")
    # With redirects a directory of a lower layer is renamed as on any disk: without, the kernel says that it cannot.
    layers = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work},redirect_dir=on"
    run(["mount", "-t", "overlay", "overlay", "-o", layers, str(target)], doing="mounting a node's disk")
