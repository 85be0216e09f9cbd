"""`up` killed at any moment: a plain re-run converges. First in the alphabet, since it starts from empty nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.lab.conftest import Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

# phase and seconds into it: before, during and after apt among them
MOMENTS = (("prepare", 0.0), ("prepare", 4.0), ("stage", 1.0), ("pki", 0.7), ("runtime", 1.0), ("etcd", 0.8),
           ("control-plane", 1.5), ("node", 1.5))


def kill_at(lab: Lab, phase: str, seconds: float, *, group: bool) -> None:
    """Run `up` and SIGKILL it, alone or with all its processes, so long into a phase."""
    began = time.time()
    process = lab.start("up", "--yes")
    try:
        lab.wait_for_phase(phase, process, began)
        time.sleep(seconds)
        alive = process.poll() is None
    finally:
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait(30)
    assert alive, f"`up` ended before {seconds} s into {phase}"


def running_playbooks(lab: Lab) -> str:
    found = subprocess.run(["pgrep", "-af", f"ansible-playbook.*{lab.directory}"], capture_output=True, text=True,
                           check=False)
    return found.stdout


def converges(lab: Lab) -> None:
    lab.run("up", "--yes")
    assert lab.json("plan")["changes"] == []
    assert lab.json("status")["healthy"]


def test_killed_with_its_group_in_apt_and_alone_at_the_api_server_a_plain_rerun_converges(empty_lab: Lab) -> None:
    kill_at(empty_lab, "prepare", 4.0, group=True)
    kill_at(empty_lab, "control-plane", 1.0, group=False)
    until(lambda: not running_playbooks(empty_lab), 10, "ansible-playbook dies with its killed parent")
    converges(empty_lab)


@pytest.mark.full
@pytest.mark.parametrize("group", [True, False], ids=["group", "parent"])
@pytest.mark.parametrize(("phase", "seconds"), MOMENTS)
def test_killed_at_any_moment_a_plain_rerun_converges(
    empty_lab: Lab, phase: str, seconds: float, group: bool
) -> None:
    empty_lab.reset()
    kill_at(empty_lab, phase, seconds, group=group)
    converges(empty_lab)
