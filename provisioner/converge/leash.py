"""Runs a command that must not outlive us: when our parent dies, or on SIGTERM, everything it started is killed.

Started as a script of its own (no import of this package), by the words of `leashed`.
Ansible's workers are sessions of their own, so killing a process group would miss them: this process is the
subreaper of all that descend from it, and finds them by their parents.
"""

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def leashed(pid_file: str, *command: str) -> list[str]:
    """Return the words that run a command so that it dies with us; the leash's own number gets into `pid_file`."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), pid_file, *command]


def descendants(root: int) -> list[int]:
    """Return the processes below `root`, from /proc."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):    # noqa: PTH208 - pathlib would cost its import at each start
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
    found = {root}
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return sorted(found - {root})


def kill_all(*_: object) -> None:
    """Kill every descendant, again until none is left, then end.

    A process may start another between our look and its death, and that one is ours only then: it is never waited for
    before it was killed as well.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while alive := descendants(os.getpid()):
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        reap()
    os._exit(143)


def reap() -> None:
    """Wait for the first of our children to end, and take those that have ended as well."""
    try:
        os.waitpid(-1, 0)
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main(argv: list[str]) -> int:
    """Run the command to its end and return its status."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, kill_all)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(argv[1]):    # the parent died before it could be watched
        return 143
    fd = os.open(argv[2], os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, b"%d\n" % os.getpid())
    os.close(fd)
    child = subprocess.Popen(argv[3:])
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main(sys.argv))
