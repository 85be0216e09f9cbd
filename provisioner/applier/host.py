"""The host the applier works on: its files, its commands, and the fault that says what went wrong."""

from __future__ import annotations

import os
import re
import select
import subprocess
from typing import Optional, Sequence

STATE_DIR = "/var/lib/kubewright"
TRYING = "kubewright-try"       # how a process of ours is called that listens for others to try it; 15 letters at most
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")


class Fault(Exception):
    """The applier cannot answer; the text goes to stderr and the exit status is 1."""


class NoProgram(Fault):
    """A program is not on this host, so nobody has made anything with it; one that fails is another Fault."""


class Host:
    """A host, seen below `root`: "/" in earnest, a temporary directory in tests."""

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")

    def at(self, path: str) -> str:
        """Return where `path` lies; only plain absolute paths are taken, so nothing leads out of the root."""
        if not path.startswith("/") or "\0" in path or os.path.normpath(path) != path or path.startswith("//"):
            raise Fault(f"not a plain absolute path: {path!r}")
        return self.root + path

    def own(self, name: str) -> str:
        """Return a path in the applier's own state directory."""
        return self.at(f"{STATE_DIR}/{name}")

    def run(self, argv: Sequence[str], *, timeout: float = 30, check: bool = True, given: str = "") -> str:
        """Run a command without a shell and return its stdout; a bad exit is a Fault unless `check` is off.

        It reads `given` where it reads anything.
        """
        done = _run(argv, timeout, given, subprocess.PIPE)
        if check and done.returncode:
            text = done.stderr.decode(errors="replace").strip()
            raise Fault(f"{' '.join(argv[:3])}: exit {done.returncode}: {text[-400:]}")
        return done.stdout.decode(errors="replace")

    def said(self, argv: Sequence[str], *, timeout: float) -> str:
        """Return all that a command says, errors among it, however it ends."""
        return _run(argv, timeout, "", subprocess.STDOUT).stdout.decode(errors="replace")

    def text(self, path: str) -> Optional[str]:
        """Return the text of a small file, or None where it is not there or not readable."""
        try:
            with open(self.at(path), "rb") as stream:
                return stream.read().decode(errors="replace")
        except OSError:
            return None


class Once(Host):
    """A host as one look sees it: a command that was run is not run again, for nothing changes meanwhile."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.root or "/")
        self._host = host
        self._said: dict[tuple[str, ...], str] = {}

    def run(self, argv: Sequence[str], *, timeout: float = 30, check: bool = True, given: str = "") -> str:
        """Return what the command said, the first time as `Host.run` does; what is or may hide a Fault is not kept."""
        key = tuple(argv)
        if given or not check:
            return self._host.run(argv, timeout=timeout, check=check, given=given)
        if key not in self._said:
            self._said[key] = self._host.run(argv, timeout=timeout)
        return self._said[key]


def _run(argv: Sequence[str], timeout: float, given: str, errors: int) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(list(argv), input=given.encode(), stdout=subprocess.PIPE, stderr=errors, timeout=timeout,
                              check=False)
    except FileNotFoundError:
        raise NoProgram(f"{argv[0]}: not found on this host") from None
    except subprocess.TimeoutExpired:
        raise Fault(f"{' '.join(argv[:3])}: no answer in {timeout:g} s") from None


def check_id(step: object) -> str:
    """Return a step's id; it becomes a directory and a unit's name, so anything else than a plain word is refused."""
    if not isinstance(step, str) or not _ID.fullmatch(step):
        raise Fault(f"not a step id: {step!r}")
    return step


def check_unit(name: object) -> str:
    """Return a unit's name; it becomes an argument and a file's name."""
    if not isinstance(name, str) or not _UNIT.fullmatch(name) or name.startswith(("-", ".")):
        raise Fault(f"not a unit: {name!r}")
    return name


def caller_gone() -> bool:
    """Say whether whoever reads our stdout is gone, so that a waiting command ends with its SSH channel."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
