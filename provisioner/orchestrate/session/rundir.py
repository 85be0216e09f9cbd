"""A run's directory: private, locked while its process lives, and emptied of secrets by whoever comes after its death.

The lock is the kernel's: it goes with the process, also on kill -9, and no number of a process is ever mistaken.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets as random
import shutil
import time
from pathlib import Path
from typing import TextIO

from provisioner.errors import UsageFault
from provisioner.model.inventory import Inventory

CREDENTIALS = "credentials"
BUNDLES = "bundles"
SNAPSHOTS = "snapshots"             # of etcd, while they are looked at
SECRETS = (CREDENTIALS, BUNDLES, SNAPSHOTS)    # directories of a run's that hold secrets in the clear
LOCK = "lock"


def make(inventory: Inventory) -> tuple[Path, TextIO]:
    """Make a run's directory, named as the run, and the lock that says that it lives; first sweep what dead runs left.

    Raises UsageFault where this user may not write there.
    """
    try:
        for directory in (inventory.state_dir, inventory.runs_dir):
            directory.mkdir(mode=0o700, exist_ok=True)
        sweep(inventory.runs_dir)
        run_dir = _new(inventory.runs_dir)
        lock = _open(run_dir / LOCK)
    except OSError as fault:
        raise UsageFault(f"{fault.filename}: keeping the run beside its inventory: {fault.strerror}",
                         details=["nothing was changed"], hint=f"ls -ld {fault.filename}") from None
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return run_dir, lock


def _new(runs_dir: Path) -> Path:
    """Make a directory that nobody has: two runs of one second may draw the same name."""
    while True:
        run_dir = runs_dir / (time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + random.token_hex(2))
        with contextlib.suppress(FileExistsError):
            run_dir.mkdir(mode=0o700)
            return run_dir


def sweep(runs_dir: Path) -> None:
    """Remove the secrets of runs that were killed before they could: credentials, and bundles with keys in the clear.

    A run has secrets only while it holds its lock, so one without secrets is not even asked.
    """
    for run_dir in runs_dir.iterdir():
        secrets = [d for d in (run_dir / name for name in SECRETS) if d.is_dir()]
        with contextlib.suppress(FileNotFoundError):                # somebody else sweeps it at the same moment
            if secrets and not lives(run_dir):
                _empty(run_dir, secrets)


def _empty(run_dir: Path, secrets: list[Path]) -> None:
    for directory in secrets:
        shutil.rmtree(directory, ignore_errors=True)
    if {p.name for p in run_dir.iterdir()} <= {LOCK}:               # it was a read: its directory goes with it
        shutil.rmtree(run_dir, ignore_errors=True)


def lives(run_dir: Path) -> bool:
    """Say whether the run's process is alive: it holds the lock, and whoever else asks shares it for a moment."""
    with contextlib.closing(_open(run_dir / LOCK)) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _open(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w")
