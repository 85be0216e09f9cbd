"""`kubewright artifacts` is thin: what it shows is what the lock and the cache say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from provisioner.artifacts.cache import Cache
from provisioner.artifacts.lockfile import load_lock, write_lock
from provisioner.artifacts.supply import KNOWN, default_versions, known, known_lock
from provisioner.cli.artifacts import artifacts
from provisioner.cli.context import Context
from provisioner.errors import KubewrightError
from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.releases import RELEASES

SHIPPED = Path(__file__).parents[3] / "inventories" / "lab" / "artifacts.lock"


@dataclass
class FakeCluster:
    kubernetes: str = "1.36.3"
    lab: bool = True


@dataclass
class FakeInventory:
    path: Path
    cluster: FakeCluster

    @property
    def artifacts_lock_path(self) -> Path:
        return self.path / "artifacts.lock"


class FakeContext(Context):
    """The command line's context with an inventory that was never read from a file."""

    def __init__(self, inventory: FakeInventory) -> None:
        super().__init__()
        vars(self)["inventory"] = inventory

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(artifacts, arguments, obj=self)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeContext:
    monkeypatch.setenv("KUBEWRIGHT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "held").write_bytes(b"held")
    stored = Cache().put(tmp_path / "held", lambda copy: None)
    held = LockedArtifact(name="held", component="one", version="1.0.0", arch="amd64", kind="binary", source="go",
                          sha256=stored.sha256, size=stored.size)
    absent = LockedArtifact(name="gone", component="two", version="2.0.0", arch="amd64", kind="binary", source="go",
                            sha256="c" * 64, size=5)
    inventory = FakeInventory(tmp_path, FakeCluster())
    write_lock(inventory.artifacts_lock_path, ArtifactLock((held, absent)))
    return FakeContext(inventory)


def test_list_says_which_files_the_cache_holds(context: FakeContext) -> None:
    lines = context.run("list").stdout.splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines] == [("one", "cached"), ("two", "absent")]
    context.output = "json"
    rows = json.loads(context.run("list").stdout)
    assert rows["schema_version"] == 1
    assert [(row["name"], row["cached"]) for row in rows["artifacts"]] == [("held", True), ("gone", False)]


def test_verify_names_every_absent_file(context: FakeContext) -> None:
    result = context.run("verify")
    assert isinstance(result.exception, KubewrightError)
    assert result.exception.exit_code == 11
    assert result.exception.details == (f"gone 2.0.0 amd64: sha256 {'c' * 64} is not in the cache",)


def test_verify_answers_in_json_where_json_was_asked_for(context: FakeContext) -> None:
    lock = load_lock(context.inventory.artifacts_lock_path)
    write_lock(context.inventory.artifacts_lock_path, ArtifactLock(lock.artifacts[:1]))
    context.output = "json"
    assert json.loads(context.run("verify").stdout) == {"schema_version": 1, "verified": 1}


def test_a_lock_is_written_without_a_build_from_digests_that_are_known(context: FakeContext) -> None:
    path = context.inventory.artifacts_lock_path
    path.unlink()
    assert context.run("lock").exit_code == 0
    assert load_lock(path) == load_lock(SHIPPED)
    path.unlink()
    context.inventory.cluster.lab = False  # type: ignore[misc]
    assert context.run("lock", "--source", "go").exit_code == 0
    assert {a.component for a in load_lock(SHIPPED).artifacts} - {a.component for a in load_lock(path).artifacts} == {
        "busybox"}


def test_a_lock_that_is_there_is_not_written_over(context: FakeContext) -> None:
    before = context.inventory.artifacts_lock_path.read_bytes()
    result = context.run("lock")
    assert isinstance(result.exception, KubewrightError) and result.exception.exit_code == 64
    assert context.inventory.artifacts_lock_path.read_bytes() == before


def test_of_what_was_never_built_no_digest_is_known(context: FakeContext) -> None:
    context.inventory.artifacts_lock_path.unlink()
    result = context.run("lock", "--arch", "arm64")
    assert isinstance(result.exception, KubewrightError) and result.exception.code == "digest-unknown"
    assert "etcd 3.6.16 for arm64" in result.exception.message
    assert result.exception.hint == "kubewright artifacts build --write-lock --arch arm64"


def test_the_known_digests_are_those_of_the_labs_committed_lock() -> None:
    [kubernetes] = {a.version for a in load_lock(SHIPPED).artifacts if a.component == "kubernetes"}
    assert (KNOWN / f"{kubernetes}.lock").read_bytes() == SHIPPED.read_bytes()


@pytest.mark.parametrize("release", RELEASES)
def test_of_each_release_and_all_that_goes_with_it_the_digests_are_known(release: str) -> None:
    lock = load_lock(KNOWN / f"{release}.lock")
    assert {a.component: a.version for a in lock.artifacts} == default_versions(release, lab=True)
    assert known_lock(default_versions(release, lab=True), ["amd64"]).artifacts


def test_no_version_is_known_by_two_digests() -> None:
    files = [(a.name, a.version, a.arch) for a in known()]
    assert len(files) == len(set(files))


def test_build_of_what_is_there_builds_nothing(context: FakeContext) -> None:
    result = context.run("build", "--component", "one")
    assert result.exit_code == 0
    assert result.stdout == "1 files are in the cache and are what artifacts.lock pins.\n"


def test_build_refuses_a_component_that_the_lock_has_not(context: FakeContext) -> None:
    result = context.run("build", "--component", "three")
    assert isinstance(result.exception, KubewrightError)
    assert result.exception.exit_code == 64


def test_build_refuses_a_version_that_the_catalogue_has_not(context: FakeContext) -> None:
    result = context.run("build", "--component", "two")
    assert isinstance(result.exception, KubewrightError)
    assert result.exception.code == "artifact-unknown"


def test_a_lock_of_an_unknown_kubernetes_is_not_written(context: FakeContext) -> None:
    before = load_lock(context.inventory.artifacts_lock_path)
    context.inventory.cluster.kubernetes = "1.2.3"  # type: ignore[misc]
    result = context.run("build", "--write-lock")
    assert isinstance(result.exception, KubewrightError)
    assert load_lock(context.inventory.artifacts_lock_path) == before


def test_a_real_cluster_gets_what_upstream_publishes_and_is_told_who_does_not_answer(
        context: FakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEWRIGHT_MIRRORS", "off")
    context.inventory.artifacts_lock_path.unlink()
    context.inventory.cluster.lab = False  # type: ignore[misc]
    result = context.run("lock")
    assert isinstance(result.exception, KubewrightError) and result.exception.code == "download"
    assert result.exception.exit_code == 11
    assert not context.inventory.artifacts_lock_path.exists()


def test_a_kubernetes_without_published_digests_is_refused_by_name(context: FakeContext) -> None:
    context.inventory.artifacts_lock_path.unlink()
    context.inventory.cluster.kubernetes = "1.36.99"  # type: ignore[misc]
    result = context.run("lock", "--source", "release")
    assert isinstance(result.exception, KubewrightError) and result.exception.code == "not-published"
    assert "kubernetes 1.36.99 for amd64" in result.exception.message


def test_a_lock_that_is_there_says_where_a_new_one_is_from(context: FakeContext) -> None:
    from provisioner.cli.artifacts import _source

    context.inventory.cluster.lab = False  # type: ignore[misc]
    assert _source(context.inventory, None) == "go"
    assert _source(context.inventory, "release") == "release"
    context.inventory.artifacts_lock_path.unlink()
    assert _source(context.inventory, None) == "release"
