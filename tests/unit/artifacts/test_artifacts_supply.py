"""From a lock to files: what is missing is built, what differs is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.artifacts.supply import build_lock, default_versions, fetch, held, merged
from provisioner.errors import InventoryRefused, KubewrightError, RefusedForSafety
from provisioner.model.artifact import ArtifactLock
from tests.fakes.workshop import Workshop, executable


def lock_of(workshop: Workshop) -> ArtifactLock:
    return build_lock({"tool": "1.0.0"}, ["amd64"], emit=workshop.events.append, cache=workshop.cache,
                      catalogue=workshop.catalogue)


def fetched(workshop: Workshop, lock: ArtifactLock) -> dict[str, Path]:
    return fetch(lock, emit=workshop.events.append, cache=workshop.cache, catalogue=workshop.catalogue)


def test_what_is_in_the_cache_is_not_built_again(workshop: Workshop) -> None:
    lock = lock_of(workshop)
    assert lock_of(workshop) == lock
    [path] = fetched(workshop, lock).values()
    assert path.read_bytes() == workshop.content
    assert workshop.builds == 1


def test_the_lock_says_what_the_bytes_are_and_what_made_them(workshop: Workshop) -> None:
    [tool] = lock_of(workshop).artifacts
    assert (tool.component, tool.version, tool.arch, tool.source) == ("tool", "1.0.0", "amd64", "go")
    assert (tool.size, tool.toolchain) == (len(workshop.content), "go1.26.8")


def test_a_corrupted_cache_entry_is_built_anew(workshop: Workshop) -> None:
    lock = lock_of(workshop)
    path = workshop.cache.path(lock.artifacts[0].sha256)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"!")
    assert held(lock, cache=workshop.cache) == {}
    [rebuilt] = fetched(workshop, lock).values()
    assert rebuilt.read_bytes() == workshop.content
    assert workshop.builds == 2


def test_a_build_for_another_architecture_is_refused_and_leaves_nothing(workshop: Workshop) -> None:
    workshop.content = executable(183)
    with pytest.raises(KubewrightError, match="is for arm64, not amd64"):
        lock_of(workshop)
    assert list((workshop.cache.root / "sha256").iterdir()) == []
    assert not (workshop.cache.root / "index").exists()


def test_other_bytes_than_the_lock_pins_are_refused_with_both_digests(workshop: Workshop) -> None:
    lock = lock_of(workshop)
    pinned = replace(lock.artifacts[0], sha256="a" * 64, toolchain="go1.26.7")
    with pytest.raises(RefusedForSafety) as refusal:
        fetched(workshop, ArtifactLock((pinned,)))
    told = "\n".join(refusal.value.details)
    assert f"pinned sha256 {'a' * 64} (go1.26.7)" in told
    assert f"built  sha256 {lock.artifacts[0].sha256} (go1.26.8)" in told
    assert "--component tool --write-lock" in refusal.value.hint
    assert refusal.value.code == "artifact-mismatch"


def test_a_locked_file_that_the_component_no_longer_has_is_refused(workshop: Workshop) -> None:
    lock = lock_of(workshop)
    with pytest.raises(RefusedForSafety) as refusal:
        fetched(workshop, ArtifactLock((replace(lock.artifacts[0], name="gone", sha256="b" * 64),)))
    assert "has no such file" in "\n".join(refusal.value.details)


def test_an_unknown_version_is_refused_before_anything_is_built(workshop: Workshop) -> None:
    with pytest.raises(InventoryRefused, match=r"no tool 9\.9\.9") as refusal:
        build_lock({"tool": "9.9.9"}, ["amd64"], emit=workshop.events.append, cache=workshop.cache,
                   catalogue=workshop.catalogue)
    assert refusal.value.details == ("known: 1.0.0",)
    assert workshop.builds == 0


def test_a_build_is_told_as_events(workshop: Workshop) -> None:
    lock_of(workshop)
    assert [(e.type, e.host) for e in workshop.events] == [("waiting", ""), ("host-done", "tool")]
    assert workshop.events[-1].seconds is not None


def test_a_changed_go_sum_is_another_build(workshop: Workshop) -> None:
    lock_of(workshop)
    (workshop.catalogue.components["tool"].module_dir("1.0.0") / "go.sum").write_text("example.org/x v1 h1:x\n")
    lock_of(workshop)
    assert workshop.builds == 2


def test_merging_replaces_only_the_components_that_are_new(workshop: Workshop) -> None:
    [tool] = lock_of(workshop).artifacts
    other, new = replace(tool, component="other", name="other"), replace(tool, version="2.0.0")
    arm = replace(tool, arch="arm64")
    assert merged(ArtifactLock((tool, other, arm)), ArtifactLock((new,))) == ArtifactLock((other, arm, new))


def test_a_real_cluster_gets_nothing_that_is_only_for_tests() -> None:
    lab, real = default_versions("1.36.3", lab=True), default_versions("1.36.3", lab=False)
    assert set(lab) - set(real) == {"busybox"}
    assert real["kubernetes"] == "1.36.3"
