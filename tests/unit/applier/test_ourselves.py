"""The copy of the program that a host keeps: what is in it, what runs it, and what keeps it."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.applier import ourselves, package
from tests.unit.applier.support import FakeHost, file_change

ASKED = {"items": [], "facts": True}
NAME = f"{hashlib.sha256(package.build_zipapp()).hexdigest()}.pyz"


@pytest.fixture
def kept(box: FakeHost) -> Path:
    return Path(str(box.send("fence", {"epoch": 1})["program"]))


def ran(box: FakeHost, kept: Path) -> tuple[int, bytes]:
    done = box.run("steps", package.frame({}, str(kept)), str(kept))
    return done.returncode, done.stdout + done.stderr


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed(copy: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Write the copy anew with members that are changed so."""
    inside = members(copy.read_bytes())
    with zipfile.ZipFile(copy, "w") as archive:
        for name, data in inside.items():
            archive.writestr(name, change(name, data))


ANSWER = (0, b'{"steps": [], "running": []}\n')


def test_a_copy_has_the_name_of_what_was_sent_its_sources_and_code_of_each(kept: Path) -> None:
    sent, inside = members(package.build_zipapp()), members(kept.read_bytes())
    assert kept.name == NAME
    assert inside.keys() == sent.keys() | {f"{name}c" for name in sent}
    assert {name: inside[name] for name in sent} == sent
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_runs_is_the_code_and_no_source_is_read(box: FakeHost, kept: Path) -> None:
    changed(kept, lambda name, data: b"no Python (" if name.endswith(".py") else data)
    assert ran(box, kept) == ANSWER
    done = subprocess.run([sys.executable, "-I", "-S", str(kept), "--root", str(box.root), "steps"], input=b"{}",
                          capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == ANSWER, "so a step runs it"


def test_a_copy_of_another_python_runs_from_its_sources_and_is_made_anew_by_the_next_step(
        box: FakeHost, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setattr(importlib.util, "MAGIC_NUMBER", b"\x01\x02\r\n")
        kept.write_bytes(ourselves.compiled(package.build_zipapp()))
    changed_code = members(kept.read_bytes())["applier/main.pyc"]
    assert ran(box, kept) == ANSWER
    assert box.send("observe", ASKED)["program"] == ""
    box.send("apply", {"step": "s", "changes": [file_change("/etc/a", "1")]})
    assert members(kept.read_bytes())["applier/main.pyc"] != changed_code
    assert box.send("observe", ASKED)["program"] == str(kept)


def test_a_copy_that_is_gone_or_torn_says_so_before_anything_is_done(box: FakeHost, kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:-5000])
    assert ran(box, kept) == (package.GONE, b"")
    assert box.send("observe", ASKED)["program"] == ""
    kept.unlink()
    assert ran(box, kept) == (package.GONE, b"")


@pytest.mark.parametrize("way", ["the file is theirs to write", "the directory is", "the group's", "a link", "a fifo",
                                 "another owner"])
def test_a_copy_that_others_may_have_written_is_not_run(box: FakeHost, kept: Path, tmp_path: Path, way: str) -> None:
    mark = tmp_path / "mark"
    theirs = f"def main(argv):\n    open({str(mark)!r}, 'w')\n    return 0\n".encode()
    kept.write_bytes(package.build_zipapp())
    changed(kept, lambda name, data: theirs if name == "applier/main.py" else data)
    assert ran(box, kept) == (0, b"")
    mark.unlink()       # so it is what would run
    if way == "another owner":
        if os.geteuid():
            pytest.skip("only root gives files away")
        os.chown(kept, 12345, -1)
    elif way == "a link":
        kept.symlink_to(kept.rename(tmp_path / "other"))
    elif way == "a fifo":
        kept.unlink()
        os.mkfifo(kept, 0o600)
    else:
        place, mode = {"the file is theirs to write": (kept, 0o602), "the directory is": (kept.parent, 0o777),
                       "the group's": (kept, 0o620)}[way]
        place.chmod(mode)
    assert ran(box, kept) == (package.GONE, b"")
    assert not mark.exists()


@pytest.mark.parametrize("way", ["file", "directory"])
def test_a_whole_copy_that_others_may_write_is_none_until_it_is_kept_again(box: FakeHost, kept: Path, way: str) -> None:
    assert box.send("observe", ASKED)["program"] == str(kept)
    (kept if way == "file" else kept.parent).chmod(0o620 if way == "file" else 0o770)
    assert box.send("observe", ASKED)["program"] == ""
    assert box.send("fence", {"epoch": 2})["program"] == str(kept)
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert box.send("observe", ASKED)["program"] == str(kept)


def test_looking_keeps_nothing(box: FakeHost) -> None:
    assert box.send("observe", ASKED)["program"] == ""
    assert list(box.root.iterdir()) == []


def test_a_step_that_a_copy_starts_runs_from_that_copy(box: FakeHost, kept: Path) -> None:
    request = {"step": "s", "changes": [file_change("/etc/a", "1")]}
    done = box.run("apply", package.frame(request, str(kept)), str(kept))
    assert json.loads(done.stdout)["status"] == "done", done.stderr
    assert [p.name for p in kept.parent.iterdir()] == [NAME]
    assert str(kept) in json.loads((box.systemd / "kubewright-step-s.service.argv").read_text())


def test_a_copy_that_is_pruned_while_it_runs_is_kept_again_as_itself(box: FakeHost, kept: Path) -> None:
    before = kept.read_bytes()
    program = ("import os, sys; f = os.open(sys.argv[1], os.O_RDONLY); os.unlink(sys.argv[1]); "
               "sys.path.insert(0, '/proc/self/fd/%d' % f); from applier import host, ourselves; "
               "print(ourselves.kept(host.Host(sys.argv[2])), end='')")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program, str(kept), str(box.root)], capture_output=True,
                          timeout=60, check=False, text=True)
    assert (done.stdout, done.stderr) == (str(kept), "")
    assert members(kept.read_bytes()).keys() == members(before).keys()


def test_a_host_that_cannot_keep_it_takes_the_epoch_all_the_same(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ourselves, "compiled", full)
    assert box.call("fence", {"epoch": 5}) == {"status": "done", "epoch": 5, "program": ""}


def test_five_are_kept_the_one_in_use_among_them(box: FakeHost, kept: Path) -> None:
    for n in range(6):
        os.utime(box.put(f"/var/lib/kubewright/applier/{n}.pyz", "old"), (1000 + n,) * 2)
    box.send("fence", {"epoch": 2})
    assert sorted(p.name for p in kept.parent.iterdir()) == sorted([NAME, *(f"{n}.pyz" for n in range(2, 6))])
