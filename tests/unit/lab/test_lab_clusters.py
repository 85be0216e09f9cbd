"""What is done to a lab's nodes between two tests: as little as the next one needs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.lab import clusters


class FakeLab:
    """Says which verbs were run, and has an inventory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "cluster.yaml"
        self.file.write_text("golden")
        self.ran: list[str] = []
        self.broken = ""

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        self.ran.append(" ".join(words))
        assert words[0] != self.broken, f"{words[0]} failed"
        return subprocess.CompletedProcess(words, 0)

    def forget_credentials(self) -> None:
        pass

    def has_booted(self) -> bool:
        return True

    def release_leaders(self) -> None:
        self.ran.append("release")

    def told(self) -> list[str]:
        """Return what was run since it was asked last."""
        ran, self.ran = self.ran, []
        return ran


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLab]:
    fake: Any = FakeLab(tmp_path)
    monkeypatch.delenv("KUBEWRIGHT_TEST_KEEP", raising=False)
    monkeypatch.setattr(clusters, "GROUNDS", {"stacked": clusters.Ground(fake)})
    monkeypatch.setattr(clusters, "PUT_BACK", {"stacked"})
    monkeypatch.setattr(clusters, "hold", lambda lab: fake.ran.append("hold") or ())
    monkeypatch.setattr(clusters, "let_go", lambda lab, held: fake.ran.append("let go") or 0.0)
    yield fake


def run(file: str, mark: str = "", fixture: str = "cluster", *, failed: bool = False, group: str = "") -> None:
    marked = SimpleNamespace(args=(group,) if group else ())
    item: Any = SimpleNamespace(fixturenames=[fixture], path=Path(file),
                                get_closest_marker=lambda name: marked if name == mark else None)
    clusters.prepare(item)
    clusters.leave(item, failed=failed)


BUILT = ["lab down", "lab up", "up --yes"]
KEPT = ["up --yes", "release", "hold", "lab snapshot golden", "let go", "ready --timeout 240s"]
RESTORED = ["lab restore golden", "let go", "ready --timeout 240s"]


def test_tests_that_leave_nothing_share_what_was_built_once(lab: FakeLab) -> None:
    run("a")
    assert lab.told() == BUILT
    run("a")
    run("b", failed=True)
    run("c")
    assert lab.told() == []
    clusters.end()
    assert lab.told() == ["lab down"]


def test_a_file_that_changes_settings_has_them_for_itself(lab: FakeLab) -> None:
    run("a", "changes")
    assert lab.told() == BUILT + KEPT
    lab.file.write_text("changed")
    run("a", "changes")
    assert lab.told() == []
    run("b", "changes", group="walk")
    assert lab.told() == RESTORED
    assert lab.file.read_text() == "golden"
    run("c", "changes", group="walk")
    assert lab.told() == [], "one group does not mind"
    run("c")
    assert lab.told() == RESTORED


def test_where_no_later_test_needs_a_snapshot_none_is_taken(lab: FakeLab) -> None:
    clusters.PUT_BACK.clear()
    run("a", "changes")
    run("a", "changes")
    assert lab.told() == BUILT


def test_after_a_test_that_dirties_the_next_gets_the_cluster_as_it_was_also_in_its_own_file(lab: FakeLab) -> None:
    run("a", "dirties")
    lab.told()
    run("a", "dirties")
    assert lab.told() == RESTORED
    run("a")
    assert lab.told() == RESTORED
    run("a")
    assert lab.told() == []


def test_what_a_failed_test_left_is_not_given_to_the_next_where_there_is_a_snapshot(lab: FakeLab) -> None:
    run("a", "changes", failed=True)
    lab.told()
    run("a", "changes")
    assert lab.told() == RESTORED


def test_a_cluster_that_cannot_be_made_is_tried_once_and_told_to_all(lab: FakeLab) -> None:
    lab.broken = "up"
    with pytest.raises(AssertionError):
        run("a")
    assert lab.told() == BUILT
    with pytest.raises(pytest.fail.Exception, match="there is no cluster: up failed"):
        run("b")
    assert lab.told() == []


def test_tests_without_a_cluster_cost_nothing_and_another_topology_takes_the_first_down(
    lab: FakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("a", fixture="tmp_path")
    assert lab.told() == []
    run("a")
    lab.told()
    (tmp_path / "single").mkdir()
    single: Any = FakeLab(tmp_path / "single")
    clusters.GROUNDS["single"] = clusters.Ground(single)
    run("b", fixture="single")
    assert lab.told() == ["lab down"]
    assert single.told() == BUILT


def test_a_topology_s_lab_is_made_once_for_making_it_writes_its_inventory_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(clusters, "GROUNDS", {})
    monkeypatch.setattr(clusters, "Lab", lambda directory, name, hosts: made.append(name))
    assert clusters.ground("stacked") is clusters.ground("stacked")
    assert len(made) == 1
