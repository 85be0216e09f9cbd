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


def step(box: FakeHost, name: str) -> Path:
    """Let a step be made, and return the copy that it ran from."""
    box.send("apply", {"step": name, "changes": [file_change(f"/etc/{name}", "1")]})
    return Path(next(word for word in json.loads((box.systemd / f"kubewright-step-{name}.service.argv").read_text())
                     if word.endswith(".pyz")))


@pytest.fixture
def kept(box: FakeHost) -> Path:
    return step(box, "first")


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed(copy: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Write the copy anew with members that are changed so."""
    inside = members(copy.read_bytes())
    with zipfile.ZipFile(copy, "w") as archive:
        for name, data in inside.items():
            archive.writestr(name, change(name, data))


def test_a_copy_has_the_name_of_what_was_sent_its_sources_and_code_of_each(kept: Path) -> None:
    sent, inside = members(package.build_zipapp()), members(kept.read_bytes())
    assert kept.name == NAME
    assert inside.keys() == sent.keys() | {f"{name}c" for name in sent}
    assert {name: inside[name] for name in sent} == sent
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_a_step_runs_is_the_code_and_no_source_is_read(box: FakeHost, kept: Path) -> None:
    changed(kept, lambda name, data: b"no Python (" if name.endswith(".py") else data)
    done = subprocess.run([sys.executable, "-I", "-S", str(kept), "--root", str(box.root), "steps"], input=b"{}",
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0 and json.loads(done.stdout)["running"] == []


def test_a_copy_of_another_python_is_made_anew_by_the_next_step(
        box: FakeHost, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setattr(importlib.util, "MAGIC_NUMBER", b"\x01\x02\r\n")
        kept.write_bytes(ourselves.compiled(package.build_zipapp()))
    theirs = members(kept.read_bytes())["applier/main.pyc"]
    assert step(box, "second") == kept
    assert members(kept.read_bytes())["applier/main.pyc"] != theirs


@pytest.mark.parametrize("way", ["torn", "the file is theirs to write", "the directory is", "the group's", "a link",
                                 "another owner"])
def test_a_copy_that_is_torn_or_that_others_may_have_written_is_made_anew_before_it_runs(
        box: FakeHost, kept: Path, tmp_path: Path, way: str) -> None:
    mark, whole = tmp_path / "mark", kept.read_bytes()
    theirs = f"def main(argv):\n    open({str(mark)!r}, 'w')\n    return 0\n".encode()
    changed(kept, lambda name, data: theirs if name == "applier/main.py" else data)
    if way == "torn":
        kept.write_bytes(whole[:-5000])
    elif way == "another owner":
        if os.geteuid():
            pytest.skip("only root gives files away")
        os.chown(kept, 12345, -1)
    elif way == "a link":
        kept.symlink_to(kept.rename(tmp_path / "other"))
    else:
        place, mode = {"the file is theirs to write": (kept, 0o602), "the directory is": (kept.parent, 0o777),
                       "the group's": (kept, 0o620)}[way]
        place.chmod(mode)
    assert step(box, "second") == kept
    assert kept.read_bytes() == whole and not kept.is_symlink()
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not mark.exists()


def test_looking_keeps_nothing(box: FakeHost) -> None:
    box.send("observe", ASKED)
    assert list(box.root.iterdir()) == []


def test_five_are_kept_the_one_in_use_among_them(box: FakeHost, kept: Path) -> None:
    for n in range(6):
        os.utime(box.put(f"/var/lib/kubewright/applier/{n}.pyz", "old"), (1000 + n,) * 2)
    step(box, "second")
    assert sorted(p.name for p in kept.parent.iterdir()) == sorted([NAME, *(f"{n}.pyz" for n in range(2, 6))])
