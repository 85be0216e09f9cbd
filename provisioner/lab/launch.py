"""Start one long-lived lab process: in its cgroups and network namespace, detached, with its identity on record.

Runs as a script of its own (`python -I launch.py ...`), standard library only: joining cgroups and a namespace
between fork and exec is not safe in a threaded process. The record is written before exec, so there is no moment in
which a node runs that `lab down` does not know.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CLONE_NEWNET = 0x40000000     # linux/sched.h
PR_SET_PDEATHSIG = 1          # linux/prctl.h
LINK_SECONDS = 20.0


def setns(handle: int) -> None:
    """Move the calling thread into the network namespace behind `handle`; os.setns came with Python 3.12 only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def start_time(pid: int) -> str:
    """Return when `pid` was started, in clock ticks since boot: with the boot id, a process's identity."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[19]


def boot_id() -> str:
    """Return the id of this boot of the machine: start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _write_record(path: Path) -> None:
    record = {"pid": os.getpid(), "started": start_time(os.getpid()), "boot": boot_id()}
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w") as stream:
        json.dump(record, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _join(options: argparse.Namespace) -> None:
    """Enter cgroups and network namespace, and turn input and output to the log; what is executed next inherits it."""
    for cgroup in options.cgroup:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    _enter(options)


def _enter(options: argparse.Namespace) -> None:
    with options.netns.open() as handle:
        setns(handle.fileno())
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.chdir("/")


def _execute(command: list[str]) -> None:
    os.execvp(command[0], command)  # noqa: S606  # no shell is the point


def _supervise(options: argparse.Namespace, report: int) -> int:
    """Run the command, again each time it ends with the code that says "reboot"; end when it ends otherwise.

    systemd-nspawn leaves a node's reboot to whoever started it. The supervisor stands outside the node's cgroups,
    which are the node's alone, and takes the node with it when it is killed.
    """
    _enter(options)
    first = True
    while True:
        child = os.fork()
        if not child:
            try:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                _join(options)
                _execute(options.command)
            except OSError as error:
                if first:
                    os.write(report, f"{options.command[0]}: {error}".encode())
            os._exit(1)
        if first:
            os.close(report)
            first = False
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != options.reboot_code:
            return 0
        _remove_link(options.link)


def _remove_link(name: str) -> None:
    """Remove the last boot's link: the kernel does it too, but later than the next boot would make its own."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["ip", "link", "delete", name], timeout=LINK_SECONDS, capture_output=True, check=False)


def _detach(options: argparse.Namespace, report: int) -> None:
    """Leave session and parent, put the identity on record, then run; a failure is told through `report`."""
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        _write_record(options.record)
        if options.reboot_code:
            os._exit(_supervise(options, report))
        _join(options)
        _execute(options.command)
    except OSError as error:
        os.write(report, f"{options.command[0]}: {error}".encode())
    os._exit(1)


def main(arguments: Sequence[str]) -> int:
    """Return 0 once the command was executed, 1 with the reason on stderr when it could not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--netns", type=Path, required=True)
    parser.add_argument("--cgroup", type=Path, action="append", default=[])
    parser.add_argument("--reboot-code", type=int, default=0, help="stay, and run again after this exit code")
    parser.add_argument("--link", default="", help="network link to remove before it runs again")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    reader, writer = os.pipe()        # both are closed by exec: the end of the stream says that it worked
    if not os.fork():
        os.close(reader)
        _detach(options, writer)
    os.close(writer)
    with os.fdopen(reader) as stream:
        failure = stream.read()
    os.wait()
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
