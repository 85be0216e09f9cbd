"""Programs of a version that does not work, pinned in the place of a good one: each is bad in its own way."""

from __future__ import annotations

from dataclasses import replace

from provisioner.artifacts.cache import Cache
from provisioner.artifacts.lockfile import load_lock, write_lock
from provisioner.model.artifact import ArtifactLock
from tests.lab.machines import Lab

EXITS = "#!/bin/sh\n# A program of a version that does not work.\nexit 1\n"
# Says to systemd that it has started, and answers nobody.
NEVER_READY = """#!/usr/bin/python3
import os, signal, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
    told.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
    told.send(b"READY=1")
signal.pause()
"""


def pin(lab: Lab, name: str, text: str) -> None:
    """Pin a script in the place of a program, and nothing else."""
    program = lab.directory / name
    program.write_text(text, encoding="utf-8")
    stored = Cache().put(program, lambda copy: None)
    _pin(lab, name, stored.sha256, stored.size)


def pin_another(lab: Lab, name: str, other: str) -> None:
    """Pin another program of the same lock in its place: one that refuses its flags, in its own words."""
    found = load_lock(lab.directory / "artifacts.lock").get(other, "amd64")
    _pin(lab, name, found.sha256, found.size)


def _pin(lab: Lab, name: str, sha256: str, size: int) -> None:
    path = lab.directory / "artifacts.lock"
    write_lock(path, ArtifactLock(tuple(replace(a, sha256=sha256, size=size) if a.name == name else a
                                        for a in load_lock(path).artifacts)))
