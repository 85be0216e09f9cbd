"""A build that fails or is interrupted ends its compiler, leaves nothing wrong and says what it saw."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.artifacts import catalogue as catalogue_module
from provisioner.artifacts import go
from provisioner.artifacts.builder import Builder, Wanted
from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import Catalogue, Component
from provisioner.artifacts.supply import build_lock
from provisioner.errors import KubewrightError
from tests.fakes.workshop import Workshop, executable


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


class Builds:
    """Builds of several components that meet each other: who began, and how each ended."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.at_once: list[tuple[str, ...]] = []
        self.ended: list[str] = []
        self._running: list[str] = []
        self._lock = threading.Lock()
        self.failing = ""

    def build(self, component: Component, version: str, arch: str, toolchain: object, work: Path,
              progress: Callable[[str], None]) -> dict[str, Path]:
        with self._lock:
            self.began.append(component.name)
            self._running.append(component.name)
            self.at_once.append(tuple(self._running))
        try:
            if component.name == self.failing:
                raise KubewrightError(f"{component.name}: go build ended with 2", code="artifact-build")
            for _ in range(10 if not self.failing else 1000):
                progress("building")
                time.sleep(0.02)
            target = work / component.name
            target.write_bytes(executable(body=component.name.encode()))
            return {component.name: target}
        finally:
            with self._lock:
                self._running.remove(component.name)
                self.ended.append(component.name)


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Builder, Builds]:
    monkeypatch.setattr(catalogue_module, "HERE", tmp_path)
    components = {}
    for name in ("long", "short", "last"):
        (tmp_path / "modules" / name / "1").mkdir(parents=True)
        (tmp_path / "modules" / name / "1" / "go.mod").write_text(f"module {name}\n")
        components[name] = {"name": name, "default": "1", "versions": ["1"],
                            "go": {"modules": [], "binaries": {name: f"example.org/{name}"}}}
    builds = Builds()
    monkeypatch.setattr(go, "build", builds.build)
    monkeypatch.setattr(go, "build_standard_library", lambda toolchain, arch, work, progress: None)
    catalogue = Catalogue.model_validate({"toolchain": "go1.26.8", "components": components})
    return Builder(lambda event: None, catalogue, Cache(tmp_path / "cache")), builds


def wanted(*names: str) -> list[Wanted]:
    return [Wanted(name, "1", "amd64") for name in names]


def test_two_components_are_built_at_a_time_in_the_catalogues_order(three: tuple[Builder, Builds]) -> None:
    builder, builds = three
    came = builder.deliver_all(wanted("last", "short", "long"))
    assert set(builds.began[:2]) == {"long", "short"} and builds.began[2] == "last"
    assert max(len(running) for running in builds.at_once) == 2
    assert {what[0]: [a.name for a in files] for what, files in came.items()} == {
        "long": ["long"], "short": ["short"], "last": ["last"]}


def test_a_build_that_fails_ends_the_other_and_none_begins_after_it(three: tuple[Builder, Builds]) -> None:
    builder, builds = three
    builds.failing = "short"
    with pytest.raises(KubewrightError, match="short: go build ended with 2"):
        builder.deliver_all(wanted("long", "short", "last"))
    assert sorted(builds.ended) == ["long", "short"] and "last" not in builds.began


def test_an_interrupt_ends_all_builds_before_it_is_told(
        three: tuple[Builder, Builds], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(futures: object, return_when: str) -> None:
        raise KeyboardInterrupt

    builder, builds = three
    builds.failing = "none"
    monkeypatch.setattr("provisioner.artifacts.builder.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        builder.deliver_all(wanted("long", "short", "last"))
    assert sorted(builds.began) == sorted(builds.ended) and "last" not in builds.began


def test_gos_own_library_is_compiled_first_only_where_several_builds_need_it(
        three: tuple[Builder, Builds], monkeypatch: pytest.MonkeyPatch) -> None:
    builder, _ = three
    library: list[str] = []
    monkeypatch.setattr(go, "build_standard_library", lambda toolchain, arch, work, progress: library.append(arch))
    builder.deliver_all(wanted("long"))
    assert library == []
    builder.deliver_all(wanted("long", "short", "last"))
    assert library == ["amd64"]
    builder.deliver_all(wanted("long", "short", "last"))
    assert library == ["amd64"]
