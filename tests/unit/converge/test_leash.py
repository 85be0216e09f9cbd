"""What we start through the leash dies with us, whatever session it moved to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from provisioner.converge import leash
from provisioner.lab.processes import wait_until

# A child that leaves the session, and a grandchild that lost its parent, as Ansible's workers and ssh's masters do.
TREE = """
import os, subprocess, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1] + '/orphan', 'w').write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)
open(sys.argv[1] + '/session', 'w').write(str(child.pid))
time.sleep(60)
"""


def leashed(tmp_path: Path, *command: str) -> list[str]:
    return leash.leashed(str(tmp_path / "pid"), *command)


def alive(pid_file: Path) -> bool:
    try:
        status = Path(f"/proc/{int(pid_file.read_text())}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def written(tmp_path: Path) -> bool:
    return all((tmp_path / n).exists() and (tmp_path / n).read_text() for n in ("orphan", "session"))


def test_the_commands_status_is_passed_on(tmp_path: Path) -> None:
    assert subprocess.run(leashed(tmp_path, "sh", "-c", "exit 4"), timeout=20, check=False).returncode == 4


def test_everything_dies_when_the_parent_is_killed(tmp_path: Path) -> None:
    program = f"import os, subprocess; subprocess.run({leashed(tmp_path, sys.executable, '-c', TREE, str(tmp_path))!r})"
    program = program.replace(f"'{os.getpid()}'", "str(os.getpid())")
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        assert wait_until(lambda: written(tmp_path), 60)
        assert alive(tmp_path / "orphan") and alive(tmp_path / "session")
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not alive(tmp_path / "orphan") and not alive(tmp_path / "session"), 60)
    assert wait_until(lambda: not alive(tmp_path / "pid"), 60)


def test_everything_dies_on_sigterm(tmp_path: Path) -> None:
    process = subprocess.Popen(leashed(tmp_path, sys.executable, "-c", TREE, str(tmp_path)))
    assert wait_until(lambda: written(tmp_path), 60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    assert not alive(tmp_path / "orphan") and not alive(tmp_path / "session")


def test_nothing_starts_when_the_parent_is_gone_already(tmp_path: Path) -> None:
    command = leashed(tmp_path, "touch", str(tmp_path / "started"))
    command[4] = "1" if os.getpid() != 1 else "2"
    assert subprocess.run(command, timeout=20, check=False).returncode == 143
    assert not (tmp_path / "started").exists()


# Ends the tree as the leash does; its child starts another one after the leash has looked and before it kills.
LATE = """
import ctypes, os, runpy, signal, subprocess, sys, time
leash = runpy.run_path(sys.argv[1])
ctypes.CDLL(None).prctl(leash['PR_SET_CHILD_SUBREAPER'], 1, 0, 0, 0)
late = sys.argv[2] + '/late'
child = subprocess.Popen(['sh', '-c', f'trap "sleep 60 & echo \\\\$! >{late}.new; mv {late}.new {late}" USR1; '
                          f'touch {late}.ready; while :; do sleep 0.05; done'], start_new_session=True)
while not os.path.exists(late + '.ready'):
    time.sleep(0.01)
look = leash['descendants']

def once_too_early(root):
    found = look(root)
    if not os.path.exists(late):
        os.kill(child.pid, signal.SIGUSR1)
        while not os.path.exists(late):
            time.sleep(0.01)
    return found

leash['kill_all'].__globals__['descendants'] = once_too_early
leash['kill_all']()
"""


def test_what_is_started_between_the_look_and_the_kill_dies_too(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", LATE, leash.__file__, str(tmp_path)], timeout=20, check=False)
    assert ended.returncode == 143
    assert not alive(tmp_path / "late")
