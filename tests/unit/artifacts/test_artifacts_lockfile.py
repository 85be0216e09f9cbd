"""artifacts.lock is read with every fault named and written so that it reads back the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.artifacts.catalogue import load_catalogue
from provisioner.artifacts.lockfile import load_lock, write_lock
from provisioner.errors import InventoryRefused
from provisioner.model.artifact import ArtifactLock, LockedArtifact

BINARY = LockedArtifact(name="etcd", component="etcd", version="3.6.16", arch="amd64", kind="binary", source="go",
                        sha256="a" * 64, size=10, toolchain="go1.26.8")
IMAGE = LockedArtifact(name="pause.tar", component="pause", version="3", arch="amd64", kind="image", source="oci",
                       sha256="b" * 64, size=20, image="kubewright.local/pause:3", toolchain="go1.26.8")


def refusal_of(path: Path, text: str) -> InventoryRefused:
    path.write_text(text)
    with pytest.raises(InventoryRefused) as refusal:
        load_lock(path)
    assert refusal.value.code == "artifacts-lock"
    return refusal.value


def test_a_lock_reads_back_as_it_was_written(tmp_path: Path) -> None:
    lock = ArtifactLock((BINARY, IMAGE))
    write_lock(tmp_path / "artifacts.lock", lock)
    assert load_lock(tmp_path / "artifacts.lock") == lock
    before = (tmp_path / "artifacts.lock").read_bytes()
    write_lock(tmp_path / "artifacts.lock", ArtifactLock((IMAGE, BINARY)))
    assert (tmp_path / "artifacts.lock").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["artifacts.lock"]


def test_a_missing_lock_is_refused_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(InventoryRefused, match=r"no artifacts\.lock yet") as refusal:
        load_lock(tmp_path / "artifacts.lock")
    assert refusal.value.hint == "kubewright artifacts lock"


@pytest.mark.parametrize("text", ["", "version: 2\nartifacts: []\n", "- a\n", "version: 1\n", "a: [\n", "\x00"])
def test_what_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal_of(tmp_path / "artifacts.lock", text).details


def test_all_faults_are_named_at_once_with_the_artifact(tmp_path: Path) -> None:
    path = tmp_path / "artifacts.lock"
    write_lock(path, ArtifactLock((BINARY, IMAGE)))
    text = path.read_text().replace("a" * 64, "short").replace("size: 20", "size: -1").replace("source: go", "from: go")
    told = "\n".join(refusal_of(path, text).details)
    assert "artifacts.0.sha256 (etcd)" in told
    assert "artifacts.1.size (pause.tar)" in told
    assert "artifacts.0.from (etcd)" in told


@pytest.mark.parametrize("text", ["busybox:1; touch /PWNED #", "a b", "x:$(id)", "x:1\\n", "{{ x }}", "X", "-x", "x:"])
def test_the_name_of_an_image_is_a_name_and_no_program(tmp_path: Path, text: str) -> None:
    path = tmp_path / "artifacts.lock"
    write_lock(path, ArtifactLock((IMAGE,)))
    told = refusal_of(path, path.read_text().replace(IMAGE.image, f'"{text}"')).details
    assert len(told) and all("artifacts.0.image" in line and "pause.tar" in line for line in told)


def test_a_file_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "artifacts.lock"
    write_lock(path, ArtifactLock((BINARY, BINARY)))
    assert refusal_of(path, path.read_text()).details == ("artifacts: etcd for amd64 stands there twice",)


def test_the_labs_committed_lock_is_what_the_catalogue_delivers() -> None:
    catalogue = load_catalogue()
    lock = load_lock(Path(__file__).parents[3] / "inventories" / "lab" / "artifacts.lock")
    found: dict[str, set[str]] = {}
    for artifact in lock.artifacts:
        catalogue.find(artifact.component, artifact.version)
        assert artifact.source != "go" or artifact.toolchain == catalogue.toolchain
        found.setdefault(artifact.component, set()).add(artifact.name)
    assert found == {name: set(catalogue.components[name].delivered) for name in catalogue.defaults(lab=True)}


def test_an_empty_lock_and_a_directory_in_its_place_are_said_with_the_command_that_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "artifacts.lock"
    for make, said in ((lambda: path.write_text("# nothing\n"), "the file is empty"),
                       (lambda: path.write_text("- a\n"), "must be a mapping"),
                       (lambda: (path.unlink(), path.mkdir()), "reading artifacts.lock: Is a directory")):
        make()
        with pytest.raises(InventoryRefused) as refused:
            load_lock(path)
        assert said in "; ".join((refused.value.message, *refused.value.details))
        assert refused.value.hint == "kubewright artifacts build --write-lock"
