from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provisioner.applier import files, ourselves, package, start, states, steps
from tests.unit.applier.support import (
    ME,
    US,
    FakeHost,
    b64,
    certificate_change,
    file_change,
    pair,
    state_of,
    unit_change,
)


def request(step: str, *changes: dict, **more: object) -> dict:
    return {"step": step, "changes": list(changes), "timeout": 30, **more}


def test_a_step_runs_as_a_unit_of_its_own_and_its_result_is_the_answer(box: FakeHost) -> None:
    box.put("/etc/kubewright/inputs/x.service", "/etc/x.conf\n")
    box.set_units(x={"ActiveState": "active"})
    answer = box.send("apply", request("run1-etcd.a", file_change("/etc/x.conf", "1"),
                                       unit_change("x.service", ["/etc/x.conf"])))
    assert answer["status"] == "done"
    assert [c["result"] for c in answer["changes"]] == ["done", "done"]
    place = box.path("/var/lib/kubewright/steps/run1-etcd.a")
    assert json.loads((place / "result.json").read_text()) == answer
    argv = json.loads((box.systemd / "kubewright-step-run1-etcd.a.service.argv").read_text())
    assert "--collect" in argv and argv[-2:] == ["step", "run1-etcd.a"]
    assert not any("/etc/x.conf" in word for word in argv)


def test_no_request_with_its_secrets_is_left_whether_the_step_worked_or_failed(box: FakeHost) -> None:
    box.call("apply", request("good", file_change("/etc/a", "1")))
    box.put("/etc/dir/x", "")
    failed = box.call("apply", request("bad", file_change("/etc/dir", "1", expect="other directory")))
    assert failed["status"] == "failed"
    assert not list(box.root.rglob("request.json"))
    for place in (box.path("/var/lib/kubewright"), *box.path("/var/lib/kubewright").rglob("*")):
        assert place.stat().st_mode & 0o077 == 0, place


def test_a_stale_step_exits_16_and_its_answer_says_what_was_found(box: FakeHost) -> None:
    box.put("/etc/a", "by hand")
    answer = box.call("apply", request("s", file_change("/etc/a", "2", expect=state_of("1"))), status=16)
    assert answer["status"] == "stale"
    assert state_of("by hand") in answer["changes"][0]["detail"]


def test_the_same_id_answers_from_its_result_and_does_nothing_again(box: FakeHost) -> None:
    first = box.call("apply", request("s", file_change("/etc/a", "1")))
    box.path("/etc/a").unlink()
    assert box.call("apply", request("s", file_change("/etc/a", "1"))) == first
    assert not box.path("/etc/a").exists()


def test_check_answers_what_would_be_and_leaves_nothing(box: FakeHost) -> None:
    answer = box.call("apply", request("s", file_change("/etc/a", "1\n"), check=True))
    assert answer["changes"][0]["result"] == "would"
    assert answer["changes"][0]["detail"].endswith("+1\n")
    assert list(box.root.iterdir()) == []


@pytest.mark.parametrize("step", ["", "../x", "a/b", ".hidden", "-x", "a b", "x" * 200, None, "a\n"])
def test_an_id_that_is_not_a_plain_word_is_refused(box: FakeHost, step: str) -> None:
    assert "not a step id" in box.call("apply", {"step": step, "changes": []}, status=1)


def hold(box: FakeHost, step: str) -> int:
    box.path("/var/lib/kubewright").mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(box.path("/var/lib/kubewright/lock"), os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, step.encode())
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_a_running_step_makes_observe_wait_and_then_answer_busy_with_its_id(box: FakeHost) -> None:
    fd = hold(box, "other-step")
    assert box.call("observe", {"items": [], "wait": 0.2}) == {"busy": "other-step"}
    os.close(fd)
    assert box.call("observe", {"items": [], "wait": 0}) == {"items": []}


def test_observe_leaves_nothing_on_the_host(box: FakeHost) -> None:
    box.call("observe", {"items": [{"kind": "file", "path": "/etc/a"}], "facts": True})
    assert list(box.root.iterdir()) == []


def test_a_step_waits_for_the_one_before_and_apply_attaches_to_it_by_id(box: FakeHost) -> None:
    fd = hold(box, "other-step")
    bundle = request("s", file_change("/etc/a", "1"))
    assert box.call("apply", {**bundle, "timeout": 0.3})["status"] == "running"
    assert not box.path("/etc/a").exists()
    waiting = subprocess.Popen([sys.executable, *package.argv("apply")[1:-1], "--root", str(box.root), "apply"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert waiting.stdin and waiting.stdout
    waiting.stdin.write(package.frame(bundle))
    waiting.stdin.close()
    os.close(fd)
    answer = json.loads(waiting.stdout.read())
    assert waiting.wait(10) == 0
    assert answer["status"] == "done"
    assert box.path("/etc/a").read_text() == "1"


def test_a_step_that_was_killed_is_started_again_by_the_apply_that_waits_for_it(box: FakeHost) -> None:
    fd = hold(box, "other-step")
    waiting = subprocess.Popen([sys.executable, *package.argv("apply")[1:-1], "--root", str(box.root), "apply"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert waiting.stdin and waiting.stdout
    waiting.stdin.write(package.frame(request("s", file_change("/etc/a", "1"))))
    waiting.stdin.close()
    pid_file = box.systemd / "kubewright-step-s.service.pid"
    taken = box.path("/var/lib/kubewright/steps/s/request.json")
    deadline = time.monotonic() + 60
    while not pid_file.exists() or not pid_file.read_text() or taken.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    os.close(fd)
    assert json.loads(waiting.stdout.read())["status"] == "done"
    waiting.wait(10)


def test_a_unit_that_cannot_be_started_is_a_fault_with_systemds_words(box: FakeHost, tmp_path: Path) -> None:
    (tmp_path / "bin/systemd-run").write_text("#!/bin/sh\necho 'no room for you' >&2\nexit 1\n")
    text = box.call("apply", request("s", file_change("/etc/a", "1")), status=1)
    assert "no room for you" in text
    assert not list(box.root.rglob("request.json"))


def test_the_orphaned_request_of_a_dead_step_is_removed_by_the_next_step_a_young_one_is_not(box: FakeHost) -> None:
    old = box.put("/var/lib/kubewright/steps/dead/request.json", "{}")
    torn = box.put("/var/lib/kubewright/steps/dead/.request.json.kubewright-tmp", "{")
    young = box.put("/var/lib/kubewright/steps/young/request.json", "{}")
    for path in (old, torn, old.parent):
        os.utime(path, (time.time() - 3600,) * 2)
    box.call("apply", request("s", file_change("/etc/a", "1")))
    assert not old.parent.exists()
    assert young.exists()


def test_what_a_dead_step_left_beside_the_paths_it_wrote_is_removed_by_the_next_step(box: FakeHost) -> None:
    real = files.finish

    def finish(temp: str, path: str) -> None:
        if path.endswith("x.key"):
            raise KeyboardInterrupt     # as SIGKILL: nothing is tidied up
        real(temp, path)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "finish", finish)
        box.put("/var/lib/kubewright/steps/dead/request.json",
                json.dumps(request("dead", file_change("/pki/x.key", "secret", mode=0o600))))
        steps.run(box.host, "dead")
    left = box.path("/pki/.x.key.kubewright-tmp")
    box.call("apply", request("young", file_change("/etc/a", "1")))
    assert left.exists(), "an apply may be about to start it again"
    for place in (box.path("/var/lib/kubewright/steps/dead"), *box.path("/var/lib/kubewright/steps/dead").iterdir()):
        os.utime(place, (time.time() - 3600,) * 2)
    box.call("apply", request("next", file_change("/etc/b", "1")))
    assert not left.exists()
    assert [p.name for p in box.path("/var/lib/kubewright/steps/next").iterdir()] == ["result.json"]


def test_a_request_that_another_step_takes_while_orphans_are_looked_for_disturbs_nobody(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = box.put("/var/lib/kubewright/steps/a-waiting/request.json", "{}")
    real = os.listdir

    def listdir(path: str) -> list[str]:
        names = real(path)
        if str(path).endswith("/a-waiting"):
            waiting.unlink()
        return names

    monkeypatch.setattr(os, "listdir", listdir)
    box.put("/var/lib/kubewright/steps/now/request.json", json.dumps(request("now")))
    steps.run(box.host, "now")
    assert not waiting.exists() and waiting.parent.exists()
    assert [r["step"] for r in steps.results(box.host)] == ["now"]


def test_only_the_newest_results_are_kept_and_told_newest_first(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "KEEP", 3)
    for n in range(5):
        place = box.put(f"/var/lib/kubewright/steps/s{n}/result.json", json.dumps({"step": f"s{n}"}))
        os.utime(place, (1000 + n,) * 2)
    box.put("/var/lib/kubewright/steps/now/request.json", json.dumps(request("now")))
    steps.run(box.host, "now")
    assert [r["step"] for r in steps.results(box.host)] == ["now", "s4", "s3"]
    assert sorted(p.name for p in box.path("/var/lib/kubewright/steps").iterdir()) == ["now", "s3", "s4"]


def test_results_are_read_through_the_command(box: FakeHost) -> None:
    assert box.call("steps", {}) == {"steps": [], "running": []}
    answer = box.call("apply", request("s", file_change("/etc/a", "1")))
    assert box.call("steps", {}) == {"steps": [answer], "running": []}


def test_the_program_is_kept_once_under_its_digest(box: FakeHost) -> None:
    box.send("apply", request("a", file_change("/etc/a", "1")))
    box.send("apply", request("b", file_change("/etc/b", "1")))
    programs = [p.name for p in box.path("/var/lib/kubewright/applier").iterdir()]
    assert programs == [f"{hashlib.sha256(package.build_zipapp()).hexdigest()}.pyz"]


def test_whatever_holds_a_secret_is_0600_and_new_from_its_first_moment_in_directories_of_0700(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request, the files themselves, and the bytes they replaced, as the kernel is asked to create them."""
    old, new = pair(), pair()
    box.put("/pki/x.crt", old[0])
    box.put("/pki/x.key", old[1], 0o600)
    box.put("/etc/secret", "before", 0o600)
    state = "file hmac:" + hmac.new(b"k", b"before", "sha256").hexdigest() + f" 0600 {ME}:{US}"
    secret = {"kind": "file", "path": "/etc/secret", "action": "change", "expect": state, "want": "",
              "hmac_key": b"k".hex(), "content": b64("after"), "mode": 0o600, "owner": ME, "group": US}
    was = states.Look(box.host).see({"kind": "certificate", "path": "/pki/x.crt", "key_path": "/pki/x.key"})[0]
    bundle = request("s", secret, certificate_change("/pki/x.crt", "/pki/x.key", *new, was))
    files_made: dict[str, tuple[int, int]] = {}
    directories: dict[str, int] = {}
    real_open, real_mkdir = os.open, os.mkdir

    def opened(path: str, flags: int, mode: int = 0o777, **more: int | None) -> int:
        if flags & os.O_CREAT:
            files_made[str(path).removeprefix(str(box.root))] = (mode, flags & os.O_EXCL)
        return real_open(path, flags, mode, **more)

    def made(path: str, mode: int = 0o777, **more: int | None) -> None:
        directories[str(path).removeprefix(str(box.root))] = mode
        real_mkdir(path, mode, **more)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "mkdir", made)
    monkeypatch.setattr(ourselves, "keep", lambda host: "program")
    monkeypatch.setattr(type(box.host), "run", lambda *_, **__: "")
    start._start(box.host, "s", bundle, 10.0)
    monkeypatch.setattr(steps, "alive", lambda *_: False)
    steps.run(box.host, "s")
    assert steps.result_of(box.host, "s")["status"] == "done"  # type: ignore[index]
    assert {"/var/lib/kubewright/steps/s/.request.json.kubewright-tmp", "/pki/.x.key.kubewright-tmp",
            "/etc/.secret.kubewright-tmp"} <= files_made.keys()
    assert sum("/generations/" in path for path in files_made) == 5, "two documents and three files that were replaced"
    assert {p: m for p, m in files_made.items() if m != (0o600, os.O_EXCL) and not p.endswith("lock")} == {}
    assert set(directories.values()) == {0o700} and "/var/lib/kubewright" in directories


def test_the_same_order_that_comes_many_times_at_once_is_done_once_and_answered_every_time(box: FakeHost) -> None:
    request = {"step": "run1.node.0", "changes": [file_change("/etc/x", "new")], "timeout": 30}
    with ThreadPoolExecutor(8) as executor:
        answers = list(executor.map(lambda _: box.run("apply", package.frame(request)), range(8)))
    assert [(a.returncode, a.stderr) for a in answers] == [(0, b"")] * 8
    assert {json.loads(a.stdout)["status"] for a in answers} == {"done"}
    assert box.path("/etc/x").read_text() == "new"
