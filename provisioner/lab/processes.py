"""Processes by identity: a number alone may belong to someone else by now."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import GateFailed, KubewrightError, PreflightRefused
from provisioner.lab import launch
from provisioner.lab.instance import read_json

COMMAND_SECONDS = 60.0


@dataclass(frozen=True)
class ProcessRecord:
    """A process as it was when it was started; the same number with another start time is a stranger."""

    pid: int
    started: str
    boot: str


def read_record(path: Path) -> ProcessRecord | None:
    """Return the record in `path`, or None when nothing was started or the file is unreadable."""
    value = read_json(path)
    try:
        return ProcessRecord(pid=int(value["pid"]), started=str(value["started"]), boot=str(value["boot"]))
    except (KeyError, TypeError, ValueError):
        return None


def is_same(record: ProcessRecord, started: str | None, boot: str) -> bool:
    """Decide whether the process now at `record.pid` (started then, None: no such process) is the recorded one."""
    return started is not None and started == record.started and boot == record.boot


def start_time(pid: int) -> str | None:
    """Return the start time of a living process; None for one that is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def is_alive(record: ProcessRecord | None) -> bool:
    """Say whether the recorded process, and not a successor of its number, is running."""
    return record is not None and is_same(record, start_time(record.pid), launch.boot_id())


def kill_if(pid: int, still_ours: Callable[[int], bool]) -> None:
    """End `pid` only if `still_ours` holds while the kernel pins its identity for us (pidfd)."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if still_ours(pid):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def kill_record(record: ProcessRecord | None) -> None:
    """End the recorded process if it still is that one."""
    if record is not None:
        kill_if(record.pid, lambda _: is_alive(record))


def in_namespace(path: Path) -> tuple[int, ...]:
    """Return the processes whose network namespace is the one at `path`, without ourselves and our ancestors."""
    if not path.exists():
        return ()
    ours = belongs_to_namespace(path)
    return tuple(pid for pid in _all_pids() if ours(pid))


def belongs_to_namespace(path: Path) -> Callable[[int], bool]:
    """Return the test that `kill_if` repeats for processes found by `in_namespace`."""
    wanted, spared = _identity(path), ancestors()
    return lambda pid: pid not in spared and _identity(Path(f"/proc/{pid}/ns/net")) == wanted


def ancestors() -> frozenset[int]:
    """Return our own process and all its parents: what runs `lab down` must outlive it."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            break
    return frozenset(found)


def _all_pids() -> Iterable[int]:
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:      # gone, or a kernel thread
        return None
    return found.st_dev, found.st_ino


def run(command: Sequence[str], *, doing: str, seconds: float = COMMAND_SECONDS, directory: Path | None = None,
        environment: Mapping[str, str] | None = None) -> str:
    """Run a short command and return its output; its failure becomes one of ours, with what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, cwd=directory,
                              env=environment, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise PreflightRefused(f"this machine: {doing}: {command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise GateFailed(f"this machine: {doing}: {command[0]} did not end within {seconds:.0f} s") from None
    if done.returncode != 0:
        raise KubewrightError(f"this machine: {doing}: {' '.join(command)}: exit {done.returncode}",
                              details=done.stderr.strip().splitlines()[-10:], code="lab-command")
    return done.stdout


def start_daemon(command: Sequence[str], *, directory: Path, name: str, netns: Path, cgroups: Sequence[Path],
                 supervise: Sequence[str] = ()) -> None:
    """Start `command` so that it outlives us; `directory/name.json` will hold its identity, `name.log` its output.

    `supervise` are the launcher's options that keep it as a supervisor; the record then is the supervisor's.
    """
    joined = [part for cgroup in cgroups for part in ("--cgroup", str(cgroup))]
    run([sys.executable, "-I", str(Path(launch.__file__)), "--record", str(directory / f"{name}.json"),
         "--log", str(directory / f"{name}.log"), "--netns", str(netns), *joined, *supervise, "--",
         *command],
        doing=f"starting {command[0]}")


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
    """Poll until `condition` holds; False when it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
