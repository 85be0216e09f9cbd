"""Kills `up` at an exact moment: the whole program here, or the process on a host that is about to make a system call.

Nothing in the product knows of it. Nodes are containers, so their processes can be traced from this machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from provisioner.lab import cgroups
from tests.lab.conftest import Lab, until

LOOK = 0.005        # seconds between two looks for a process that is about to start


@dataclass(frozen=True)
class Blow:
    """Where the process on the host dies: when it enters the `nth` call of this name, of `path` alone if one is given.

    `process` is the transient unit of a step, the applier that takes artifacts from a stream, or dpkg as it unpacks.
    SIGKILL at the entry means that the call is not made.
    """

    call: str
    path: str = ""      # `{step}` stands for the step's id
    nth: int = 1
    process: str = "step"

    def __str__(self) -> str:
        return f"{self.process}: {self.call} {self.path or self.nth}"


class Up:
    """One `up`, or another verb, every event of which is seen within some hundredths of a second."""

    def __init__(self, lab: Lab, *verb: str) -> None:
        self._lab, self._began = lab, time.time()
        self.process = lab.start(*(verb or ("up", "--yes")))

    def wait_for(self, kind: str, phase: str, seconds: float = 300.0) -> None:
        """Wait until the run tells an event of this kind (`phase-start`, `phase-done`) of this phase."""
        if not self.comes(kind, phase, seconds):
            raise AssertionError(f"`up` ended before {kind} of {phase}: {self.process.communicate()[0]}")

    def comes(self, kind: str, phase: str, seconds: float = 300.0) -> bool:
        """Wait until the run tells such an event, or ends: then say whether it had told it."""
        until(lambda: self._has_told(kind, phase) or self.process.poll() is not None, seconds, f"{kind} of {phase}",
              interval=0.01)
        return self._has_told(kind, phase)

    def _has_told(self, kind: str, phase: str) -> bool:
        return any(e["type"] == kind and e.get("phase") == phase for e in self._lab.events(self._began))

    def kill(self, *, alone: bool = False) -> None:
        """SIGKILL it with all of its process group, or alone: then what it started has to notice."""
        if alone:
            self.process.kill()
        else:
            with suppress(ProcessLookupError):      # it has just ended by itself
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        until(lambda: not playbooks(self._lab), 10, "ansible-playbook dies with its killed parent")

    def end(self, seconds: float = 600.0) -> tuple[int, str]:
        """Wait for its own end and return exit code and output."""
        said, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, said


def playbooks(lab: Lab) -> str:
    """Return the command lines of the playbooks that still run for this lab."""
    found = subprocess.run(["pgrep", "-af", f"ansible-playbook.*{lab.directory}"], capture_output=True, text=True,
                           check=False)
    return found.stdout


def strike(lab: Lab, host: str, blow: Blow, up: Up, seconds: float = 300.0) -> None:
    """Wait until the process appears on the host, and see it die by the blow; AssertionError if it does not.

    It is stopped as soon as it is seen, so that it cannot be past the place before it is traced.
    """
    def seen() -> tuple[int, str] | None:
        assert up.process.poll() is None, f"`up` ended before {blow}: {up.process.communicate()[0]}"
        return _find(lab, host, blow.process)

    pid, step = until(seen, seconds, f"{host}: {blow}", interval=LOOK)
    os.kill(pid, signal.SIGSTOP)
    log = lab.directory / "strace.log"
    only = ["-P", blow.path.format(step=step)] if blow.path else []
    strace = subprocess.Popen(["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={blow.call}", *only, "-e",
                               f"inject={blow.call}:signal=KILL:when={blow.nth}", "-p", str(pid)])
    try:
        until(lambda: _is_traced(pid) or strace.poll() is not None, 10, f"strace on {pid}", interval=LOOK)
        for stopped in (pid, _parent(pid)):     # sudo stops with what it runs, and goes on only when it is told
            os.kill(stopped, signal.SIGCONT)
        strace.wait(seconds)
    finally:
        strace.kill()
        strace.wait()
    told = log.read_text(encoding="utf-8", errors="replace")
    assert "+++ killed by SIGKILL +++" in told, f"{host}: {blow}: it went by: {told[-2000:]}"


def _find(lab: Lab, host: str, process: str) -> tuple[int, str] | None:
    """Return number (of this machine) and step of such a process on the node."""
    if process == "step":
        return _step(lab, host)
    wanted = {"store": ("python", (b"\0store\0", b"\0share\0")), "dpkg": ("dpkg", (b"--unpack",))}[process]
    for group in cgroups.groups(lab.instance).get(host, ())[:1]:
        for pid in cgroups.members(group):
            with suppress(OSError):         # it ended meanwhile
                program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))  # noqa: PTH115, PTH119
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                if program.startswith(wanted[0]) and any(word in words for word in wanted[1]):
                    return pid, ""
    return None


def _step(lab: Lab, host: str) -> tuple[int, str] | None:
    of_lab = lab.instance
    for root in cgroups.hierarchies():
        for listing in (root / of_lab.namespace / host).glob("payload/system.slice/kubewright-step-*/cgroup.procs"):
            with suppress(OSError, IndexError):
                pid = int(listing.read_text().split()[0])
                if "python" in os.readlink(f"/proc/{pid}/exe"):     # noqa: PTH115  # and not systemd before its exec
                    return pid, listing.parent.name.removeprefix("kubewright-step-").removesuffix(".service")
    return None


def _parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("\nPPid:")[2].split()[0])


def _is_traced(pid: int) -> bool:
    with suppress(OSError):
        return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
    return False
