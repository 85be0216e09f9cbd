"""A step killed by SIGKILL at every instant at which it is about to touch the host."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provisioner.applier import apply, changes, files, owned, package, states, steps
from tests.unit.applier.support import (
    ME,
    US,
    FakeHost,
    certificate_change,
    file_change,
    fresh,
    pair,
    state_of,
    unit_change,
)

# Python's own audit events, raised before the call: the process dies with the touch not yet made.
TOUCHES = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.symlink", "os.chmod", "os.chown",
           "subprocess.Popen"}
INPUTS = ["/etc/kw/conf", "/pki/x.crt", "/pki/x.key", "/usr/local/bin/x"]
SPEC = {"kind": "certificate", "path": "/pki/x.crt", "key_path": "/pki/x.key"}


class Scene:
    """A host before a bundle that touches everything the applier can touch."""

    def __init__(self, box: FakeHost, old: tuple[bytes, bytes], new: tuple[bytes, bytes]) -> None:
        self.box = box
        self.old, self.new = old, new
        box.put("/etc/kw/conf", "old\n")
        box.path("/etc/kw").chmod(0o700)
        box.put("/etc/gone", "bye")
        box.put("/pki/x.crt", old[0])
        box.put("/pki/x.key", old[1], 0o600)
        box.path("/usr/local/bin").mkdir(parents=True)
        box.path("/usr/local/bin/x").symlink_to("/opt/1")
        box.put("/etc/kubewright/inputs/x.service", "".join(f"{i}\n" for i in INPUTS))
        box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled"})
        box.stamp("x.service")

    def bundle(self) -> list[dict]:
        """Return what the diff would ask for, each with the state seen now: the plan of a re-run."""
        pki = states.Look(self.box.host).see(SPEC)[0]
        wanted = [
            {"kind": "directory", "path": "/etc/kw", "mode": 0o755, "owner": ME, "group": US,
             "want": f"dir 0755 {ME}:{US}"},
            file_change("/etc/kw/conf", "new\n"),
            file_change("/etc/kw/sub/fresh", "fresh", mode=0o600),
            {"kind": "symlink", "path": "/usr/local/bin/x", "target": "/opt/2", "want": "link /opt/2"},
            certificate_change("/pki/x.crt", "/pki/x.key", *self.new, expect=pki),
            {"kind": "file", "path": "/etc/gone", "action": "remove", "want": "absent"},
            {"kind": "directory", "path": "/etc/newdir", "mode": 0o750, "owner": ME, "group": US,
             "want": f"dir 0750 {ME}:{US}"},
        ]
        look = states.Look(self.box.host)
        plan = [{"action": "change", **w, "expect": look.see(w)[0]} for w in wanted]
        return [*plan, unit_change("x.service", INPUTS)]

    def assert_nothing_is_half(self) -> None:
        conf = self.box.path("/etc/kw/conf").read_bytes()
        assert conf in (b"old\n", b"new\n")
        assert self.box.path("/pki/x.crt").read_bytes() in (self.old[0], self.new[0])
        assert self.box.path("/pki/x.key").read_bytes() in (self.old[1], self.new[1])
        assert str(self.box.path("/usr/local/bin/x").readlink()) in ("/opt/1", "/opt/2")
        assert self.box.path("/pki/x.key").stat().st_mode & 0o777 == 0o600
        fresh = self.box.path("/etc/kw/sub/fresh")
        assert not fresh.exists() or (fresh.read_text(), fresh.stat().st_mode & 0o777) == ("fresh", 0o600)
        new = self.box.path("/etc/newdir")
        assert not new.exists() or new.stat().st_mode & 0o777 == 0o750
        result = self.box.path("/var/lib/kubewright/steps/s/result.json")
        assert not result.exists() or json.loads(result.read_text())["status"] == "done"

    def assert_converged(self) -> None:
        self.assert_nothing_is_half()
        assert self.box.path("/etc/kw/conf").read_bytes() == b"new\n"
        assert not self.box.path("/etc/gone").exists()
        assert states.Look(self.box.host).see(SPEC)[0].split()[2] == "key-ok"
        assert self.box.path("/pki/x.crt").read_bytes() == self.new[0]
        unit = {"kind": "unit", "path": "x.service", "inputs": INPUTS}
        assert states.Look(self.box.host, [unit]).see(unit)[0] == "active enabled current"
        assert not [path for path in self.box.leftovers() if "/kubewright/steps/" not in path]


def step_that_dies(box: FakeHost, bundle: list[dict], at: int) -> bool:
    """Run a step in a child that is killed before its `at`-th touch, and say whether it came to that."""
    place = files.private_directory(steps.directory(box.host, "s"))
    files.write_json(f"{place}/request.json", {"step": "s", "changes": bundle, "timeout": 5})
    child = os.fork()
    if not child:
        left = at

        def count(event: str, arguments: tuple) -> None:
            nonlocal left
            if event in TOUCHES and (event != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            steps.run(box.host, "s")
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def run_again(scene: Scene, bundle: list[dict]) -> None:
    run = apply.Run(scene.box.host, "again", bundle)
    for change in bundle:
        changes.check(scene.box.host, change)
    owned.note(scene.box.host, "again", bundle)     # as every step begins
    run.perform()
    assert run.status == "done", run.results


@pytest.fixture(scope="module")
def pairs() -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    return pair("old"), pair("new")


def die_everywhere(tmp_path: Path, pairs: tuple, again: str, first: int, stride: int) -> int:
    """Kill a step at its touches `first`, `first + stride`, ... until it ends unharmed; return how often it died."""
    died = 0
    for at in range(first, 1000, stride):
        scene = Scene(fresh(tmp_path, at), *pairs)
        bundle = scene.bundle()
        killed = step_that_dies(scene.box, bundle, at)
        died += killed
        scene.assert_nothing_is_half()
        if killed:
            run_again(scene, bundle if again == "the same step" else scene.bundle())
        scene.assert_converged()
        assert len([c for c in scene.box.calls() if c.startswith("restart")]) == 1, at
        if not killed:
            break
    return died


AGAIN = pytest.mark.parametrize("again", ["the same step", "a new plan"])


@AGAIN
def test_a_killed_step_leaves_nothing_half_and_a_rerun_converges_with_one_restart(
        box: FakeHost, tmp_path: Path, pairs: tuple, again: str) -> None:
    assert die_everywhere(tmp_path, pairs, again, first=len(again) % 7, stride=9) >= 7


@pytest.mark.full
@pytest.mark.timeout(600)
@AGAIN
def test_a_step_killed_at_every_single_touch_converges_too(
        box: FakeHost, tmp_path: Path, pairs: tuple, again: str) -> None:
    assert die_everywhere(tmp_path, pairs, again, first=0, stride=1) >= 70


def test_the_real_zipapp_killed_after_any_delay_converges_when_apply_is_simply_called_again(
        box: FakeHost, pairs: tuple) -> None:
    scene = Scene(box, *pairs)
    bundle = scene.bundle()
    for delay in (0.0, 0.03, 0.06, 0.09, 0.12, 0.2):
        pid_file = box.systemd / "kubewright-step-s.service.pid"
        pid_file.unlink(missing_ok=True)
        client = subprocess.Popen([sys.executable, *package.argv("apply")[1:-1], "--root", str(box.root), "apply"],
                                  stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert client.stdin
        client.stdin.write(package.frame({"step": "s", "changes": bundle, "timeout": 50}))
        client.stdin.close()
        deadline = time.monotonic() + 60
        while client.poll() is None and not (pid_file.exists() and pid_file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(delay)
        client.kill()
        client.wait()
        if pid_file.exists():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid_file.read_text()), signal.SIGKILL)    # as systemd does: with what it started
        scene.assert_nothing_is_half()
    answer = box.send("apply", {"step": "s", "changes": bundle, "timeout": 50})
    assert answer["status"] == "done"
    scene.assert_converged()
    assert len([c for c in box.calls() if c.startswith("restart")]) == 1


def test_a_file_changed_by_hand_after_a_kill_is_not_overwritten_by_the_rerun(box: FakeHost, pairs: tuple) -> None:
    scene = Scene(box, *pairs)
    bundle = scene.bundle()
    assert step_that_dies(box, bundle, 1)
    box.put("/etc/kw/conf", "by hand\n")
    run = apply.Run(box.host, "again", bundle)
    run.perform()
    assert run.status == "stale"
    assert box.path("/etc/kw/conf").read_text() == "by hand\n"
    assert state_of("by hand\n") in next(r["detail"] for r in run.results if r["result"] == "stale")
