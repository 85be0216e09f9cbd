"""A program of the store run within a step: as whom, how long, once, and what is kept of what it said."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import changes, files, programs, states, steps
from provisioner.applier.apply import Run
from provisioner.applier.host import Fault
from tests.unit.applier.support import ME, US, FakeHost, file_change, fresh, state_of
from tests.unit.applier.test_apply import outcomes, perform
from tests.unit.applier.test_kill import step_that_dies

TOOL = "/opt/kubewright/etcd/3.6-12345678/etcdutl"
SAYS = '#!/bin/sh\necho "$@"\necho warned >&2\n'


def program(box: FakeHost, text: str = SAYS, *argv: str, timeout: float = 20, **more: Any) -> dict[str, Any]:
    box.put(TOOL, text, 0o755)
    expect = states.Look(box.host).see({"kind": "artifact", "path": TOOL})[0]
    return {"kind": "program", "path": TOOL, "action": "run", "argv": list(argv), "timeout": timeout,
            "owner": ME, "group": US, "expect": expect, "want": "exit 0", **more}


def test_a_program_runs_with_its_words_as_they_are_and_what_it_says_is_the_result(box: FakeHost) -> None:
    run = perform(box, program(box, SAYS, "restore", "$(id)", "a b; c"))
    assert outcomes(run) == ["done"]
    told = run.results[0]
    assert (told["exit"], told["stdout"], told["stderr"]) == (0, "restore $(id) a b; c\n", "warned\n")
    assert told["detail"].startswith("exit 0 in ")


def test_an_exit_that_is_not_0_fails_the_step_with_the_program_s_words(box: FakeHost) -> None:
    run = perform(box, program(box, "#!/bin/sh\necho no such snapshot >&2\nexit 3\n"), file_change("/etc/a", "a"))
    assert (run.status, outcomes(run)) == ("failed", ["failed", "untouched"])
    assert run.results[0]["detail"] == "etcdutl: exit 3: no such snapshot"
    assert run.results[0]["exit"] == 3


def test_a_program_that_does_not_end_is_killed_with_all_that_it_started(box: FakeHost, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    text = f"#!/bin/sh\nsleep 300 & echo $! > {pids}\necho begun\nwait\n"
    run = perform(box, program(box, text, timeout=1.5))
    assert run.results[0]["detail"] == "etcdutl: had not ended after 1.5 s and was killed"
    assert (run.results[0]["exit"], run.results[0]["stdout"]) == (None, "begun\n")
    deadline = time.monotonic() + 10
    while _lives(int(pids.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_of_a_program_that_talks_without_end_the_last_words_are_kept(box: FakeHost) -> None:
    run = perform(box, program(box, "#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x\necho the end\n"))
    assert run.results[0]["stdout"].endswith("xxthe end\n")
    assert len(run.results[0]["stdout"]) == programs.LIMIT


def test_other_bytes_than_the_plan_saw_are_not_run(box: FakeHost) -> None:
    change = program(box)
    box.put(TOOL, "#!/bin/sh\ntouch /tmp/never\n", 0o755)
    run = perform(box, file_change("/etc/a", "a"), change)
    assert (run.status, outcomes(run)) == ("stale", ["untouched", "stale"])


def test_a_program_in_a_directory_that_others_may_write_into_is_not_run(box: FakeHost) -> None:
    change = program(box)
    box.path("/opt/kubewright/etcd").chmod(0o777)
    assert perform(box, change).status == "stale"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_runs_as_its_user_without_our_groups_or_environment_and_writes_for_itself_alone(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEWRIGHT_SECRET", "hunter2")
    text = "#!/bin/sh\nid -u; id -G; umask; pwd; echo ${KUBEWRIGHT_SECRET:-none}\n"
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)        # nobody must be able to reach it
        open_to_all = FakeHost(Path(place), box.systemd)
        run = perform(open_to_all, program(open_to_all, text, owner="nobody", group="nogroup"))
    assert run.results[0]["stdout"] == "65534\n65534\n0077\n/\nnone\n", run.results


def test_a_user_that_the_host_does_not_have_fails_the_bundle_before_anything(box: FakeHost) -> None:
    run = perform(box, file_change("/etc/a", "a"), program(box, owner="nobody-here"))
    assert outcomes(run) == ["untouched", "failed"]
    assert "nobody-here" in run.results[1]["detail"]


@pytest.mark.parametrize(("more", "words"), [
    ({"argv": "restore"}, "no list of texts"), ({"argv": ["a\0b"]}, "no list of texts"), ({"argv": [1]}, "no list"),
    ({"timeout": None}, "needs a timeout"), ({"timeout": 0}, "needs a timeout"), ({"timeout": True}, "needs a timeout"),
    ({"action": "add"}, "cannot 'add' it here"), ({"path": "etcdutl"}, "not a plain absolute path"),
])
def test_an_order_that_cannot_be_run_is_refused(box: FakeHost, more: dict[str, Any], words: str) -> None:
    with pytest.raises(Fault, match=words):
        changes.check(box.host, {**program(box), **more})


def test_a_preview_says_what_would_run_and_runs_nothing(box: FakeHost, tmp_path: Path) -> None:
    run = Run(box.host, "s", [program(box, f"#!/bin/sh\ntouch {tmp_path}/ran\n", "a")])
    run.preview()
    assert (outcomes(run), run.results[0]["detail"]) == (["would"], f"run as {ME}: {TOOL} a")
    assert not (tmp_path / "ran").exists()


def test_the_step_s_result_holds_what_the_program_said_and_the_same_id_runs_it_no_second_time(
        box: FakeHost, tmp_path: Path) -> None:
    count = tmp_path / "count"
    order = {"step": "s1", "changes": [program(box, f"#!/bin/sh\necho run >> {count}\necho hash=77\n")], "timeout": 30}
    first = box.send("apply", order)
    assert (first["status"], first["changes"][0]["stdout"]) == ("done", "hash=77\n")
    assert box.send("apply", order) == first
    assert count.read_text() == "run\n"
    assert [p.name for p in box.path("/var/lib/kubewright/steps/s1").iterdir()] == ["result.json"]


@pytest.mark.parametrize("stride", [pytest.param(1, marks=[pytest.mark.full, pytest.mark.timeout(600)]), 3])
def test_a_step_killed_at_any_touch_runs_a_program_that_had_ended_no_second_time(
        box: FakeHost, tmp_path: Path, stride: int) -> None:
    died = 0
    for at in range(0, 200, stride):
        scene = fresh(tmp_path, at)
        count = tmp_path / f"count{at}"
        bundle = [file_change("/etc/before", "b"), program(scene, f"#!/bin/sh\necho run >> {count}\necho 77\n"),
                  file_change("/etc/behind", "b")]
        killed = step_that_dies(scene, bundle, at)
        died += killed
        ended = programs.kept(scene.host, "s")
        if killed:
            files.write_json(f"{steps.directory(scene.host, 's')}/request.json", {"changes": bundle})
            steps.run(scene.host, "s")
        result = steps.result_of(scene.host, "s")
        assert result and (result["status"], result["changes"][1]["stdout"]) == ("done", "77\n")
        assert count.read_text() in (("run\n",) if ended or not killed else ("run\n", "run\nrun\n"))
        assert states.Look(scene.host).see({"kind": "file", "path": "/etc/behind"})[0] == state_of("b")
        if not killed:
            break
    assert died >= 4
