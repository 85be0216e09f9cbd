"""A build that fails or is interrupted ends its compiler, leaves nothing wrong and says what it saw."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from provisioner.artifacts import go
from provisioner.artifacts.supply import build_lock
from provisioner.errors import KubewrightError
from tests.fakes.workshop import Workshop


def test_a_failed_build_tells_the_last_lines(tmp_path: Path) -> None:
    command = ["sh", "-c", "seq 1 100; echo 'main.go:3: undefined: x' >&2; exit 2"]
    with pytest.raises(KubewrightError, match="building tool: go build ended with 2") as failure:
        go._run(command, tmp_path, "amd64", "tool 1.0.0: building tool", lambda message: None)
    assert failure.value.details[-1] == "main.go:3: undefined: x"
    assert len(failure.value.details) == 20


def test_an_interrupted_build_ends_its_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    def stop(message: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(go, "_TICK", 0.05)
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    with pytest.raises(KeyboardInterrupt):
        go._run(["sleep", "600"], tmp_path, "amd64", "tool 1.0.0: building tool", stop)
    assert started[0].returncode is not None


def test_an_endless_build_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "_TICK", 0.05)
    monkeypatch.setattr(go, "_DEADLINE", 0.1)
    with pytest.raises(KubewrightError, match="not done in"):
        go._run(["sleep", "600"], tmp_path, "amd64", "tool 1.0.0: building tool", lambda message: None)


def test_an_interrupted_build_leaves_nothing_and_the_next_one_works(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(component: object, version: str, arch: str, toolchain: str, work: Path, progress: object) -> None:
        (work / "tool").write_bytes(workshop.content[:50])
        raise KeyboardInterrupt

    def built() -> int:
        lock = build_lock({"tool": "1.0.0"}, ["amd64"], emit=workshop.events.append, cache=workshop.cache,
                          catalogue=workshop.catalogue)
        return lock.artifacts[0].size

    with monkeypatch.context() as patch:
        patch.setattr(go, "build", interrupted)
        with pytest.raises(KeyboardInterrupt):
            built()
    assert [p.name for p in workshop.cache.root.rglob("*") if p.is_file() and p.parent.name != "locks"] == []
    assert built() == len(workshop.content)
