"""A full disk of the machine that kubewright runs on: told as that, and a run stops where nothing is half done."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provisioner.converge import bundle
from provisioner.operate import secrets
from provisioner.orchestrate.plan import applied
from provisioner.report import console
from tests.fakes.example import copy
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, drift, run, world

__all__ = ["built", "run", "world"]
ROOT = Path(__file__).resolve().parents[3]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full(*_: Any, **__: Any) -> Any:
    raise FULL


def fills_at(monkeypatch: pytest.MonkeyPatch, type_: str) -> list[str]:
    """Let the disk be full from the first event of a type on; return what was tried afterwards."""
    real, tried = console.to_file, []  # type: ignore[var-annotated]

    def to_file(path: Path) -> Any:
        write = real(path)

        def guarded(event: Any) -> None:
            if tried or event.type == type_:
                tried.append(event.type)
                raise FULL
            write(event)
        return guarded

    monkeypatch.setattr(console, "to_file", to_file)
    return tried


@pytest.mark.parametrize("type_", ["run-start", "phase-start", "host-start", "changed"])
def test_a_run_whose_events_cannot_be_kept_stops_at_a_safe_point_and_is_resumed(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch, type_: str) -> None:
    built.hosts.hosts["cp1"].edit("/etc/kubernetes/audit-policy.yaml", "file sha256:x 0640 root:kube-apiserver", "x",
                                  unit="kube-apiserver.service")
    drift(built)
    with monkeypatch.context() as patch:
        tried = fills_at(patch, type_)
        ended = run("up", "--yes")
    assert ended.code == 13, ended.err
    assert tried == [type_], "it is not tried again and again"
    assert "keeping the run's events: " in ended.err and "No space left on device" in ended.err
    assert "not recorded here; the hosts know" in ended.err and "stopped where nothing is half done" in ended.err
    assert "this is a bug" not in ended.err
    assert " resume run" in ended.err
    assert not [h.name for h in built.hosts.hosts.values() if h.record.get("held")], "the lock is given back"
    assert run("up", "--yes").code == 0
    assert run("plan").out.startswith("No changes.")


def test_a_run_that_is_done_says_what_was_not_recorded(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drift(built)
    tried = fills_at(monkeypatch, "run-end")
    ended = run("up", "--yes")
    assert (ended.code, tried) == (0, ["run-end"])
    assert "not recorded here" in ended.out


@pytest.mark.parametrize(("module", "name"), [(bundle, "write_whole"), (applied, "write_whole")])
def test_what_a_run_keeps_for_itself_meets_a_full_disk_as_no_bug_of_ours(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    drift(built)
    built.inventory.applied_path.unlink(missing_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        ended = run("up", "--yes")
    assert ended.code in (13, 64), ended.err
    assert "this machine: writing what is kept or shown here: No space left on device" in ended.err
    assert "this is a bug" not in ended.err + "".join(e.message for e in built.events)
    assert run("up", "--yes").code == 0


def test_secrets_that_cannot_be_written_are_begun_anew(
        world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(secrets, "write_whole", full)
        ended = run("up", "--yes")
    assert (ended.code, "No space left on device" in ended.err, world.hosts.log) == (64, True, [])
    assert run("up", "--yes").code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", [("validate",), ("-o", "json", "validate"), ("schema",), ("version",), ("--help",)],
                         ids=" ".join)
def test_an_output_that_takes_no_more_is_an_ordinary_fault(tmp_path: Path, words: tuple[str, ...]) -> None:
    call = [sys.executable, "-m", "provisioner.cli.main", "-i", str(copy(tmp_path)), *words]
    with Path("/dev/full").open("w") as sink:
        done = subprocess.run(call, stdout=sink, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 64, done.stderr
    assert done.stderr.startswith("error: this machine: writing what is kept or shown here: No space left on device\n")
    assert "bug" not in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / ".kubewright").exists(), "and leaves no file behind"
