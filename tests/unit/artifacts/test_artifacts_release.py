"""What upstream publishes becomes files of ours: by published digests alone, without Go and without an engine."""

from __future__ import annotations

import errno
import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from provisioner.artifacts import release
from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import Catalogue, load_catalogue
from provisioner.artifacts.download import MIRRORS, Patience, Progress, Published
from provisioner.artifacts.download import download as plain
from provisioner.artifacts.lockfile import load_lock, write_lock
from provisioner.artifacts.published import Publications, load_publications
from provisioner.artifacts.release import Release
from provisioner.artifacts.supply import build_lock, fetch, release_versions
from provisioner.compile.versions import Kubernetes, lock_faults
from provisioner.errors import KubewrightError, PreflightRefused, RefusedForSafety
from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.events import Event
from tests.fakes.publishers import Publisher, archive, publications, publisher
from tests.fakes.workshop import executable

PROGRAM = executable()
TOOL = {"name": "tool", "default": "1.0.0", "versions": ["1.0.0"],
        "go": {"modules": ["example.org/tool"], "binaries": {"tool": "example.org/tool"}}}
CATALOGUE = Catalogue.model_validate({"toolchain": "go1.26.8", "components": {"tool": TOOL}})
URL = "https://dl.example.org/v{version}/tool-{arch}"
IMAGE = "registry.example.org/team/tool:v{version}"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    with publisher() as made:
        monkeypatch.setenv(MIRRORS, made.url)
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield made


def locked(tmp_path: Path, published: Publications, version: str = "1.0.0") -> ArtifactLock:
    return build_lock({"tool": version}, ["amd64"], emit=lambda event: None, cache=Cache(tmp_path / "cache"),
                      catalogue=CATALOGUE, source="release", release=source(published))


def fetched(tmp_path: Path, published: Publications, lock: ArtifactLock, events: list[Event]) -> dict[str, Path]:
    return fetch(lock, emit=events.append, cache=Cache(tmp_path / "cache"), catalogue=CATALOGUE,
                 release=source(published))


def source(published: Publications) -> Release:
    return Release(published, Patience(answer=2.0, pause=0.0))


def stored(tmp_path: Path, artifact: LockedArtifact) -> Path:
    return tmp_path / "cache" / "sha256" / artifact.sha256


def test_a_program_is_taken_as_it_was_published(tmp_path: Path, mirror: Publisher) -> None:
    digest = mirror.publish("https://dl.example.org/v1.0.0/tool-amd64", PROGRAM)
    [tool] = locked(tmp_path, publications("tool", digest, url=URL)).artifacts
    assert (tool.name, tool.source, tool.sha256, tool.size) == ("tool", "release", digest, len(PROGRAM))
    assert (tool.origin, tool.published) == ("https://dl.example.org/v1.0.0/tool-amd64", f"sha256:{digest}")
    assert stored(tmp_path, tool).read_bytes() == PROGRAM
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


def test_the_lock_keeps_what_was_verified(tmp_path: Path, mirror: Publisher) -> None:
    digest = mirror.publish("https://dl.example.org/v1.0.0/tool-amd64", PROGRAM)
    lock = locked(tmp_path, publications("tool", digest, url=URL))
    write_lock(tmp_path / "artifacts.lock", lock)
    assert load_lock(tmp_path / "artifacts.lock") == lock


def test_members_of_an_archive_are_taken_out_of_it(tmp_path: Path, mirror: Publisher) -> None:
    packed = archive({"tool-v1.0.0/tool": PROGRAM, "README": b"read me", "../../outside": b"no"},
                     {"tool-v1.0.0/link": "/etc/passwd"})
    digest = mirror.publish("https://dl.example.org/v1.0.0/tool-amd64", packed)
    found = publications("tool", digest, url=URL, members={"tool": "./tool-v{version}/tool"})
    [tool] = locked(tmp_path, found).artifacts
    assert (tool.name, tool.published) == ("tool", f"sha256:{digest}")
    assert stored(tmp_path, tool).read_bytes() == PROGRAM
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("packed", [
    archive({"other": PROGRAM}), archive({}, {"tool": "/bin/sh"}), archive({"tool": PROGRAM})[:40], b"no archive"],
    ids=["another", "a link", "cut off", "no archive"])
def test_an_archive_without_the_member_is_refused(tmp_path: Path, mirror: Publisher, packed: bytes) -> None:
    digest = mirror.publish("https://dl.example.org/v1.0.0/tool-amd64", packed)
    with pytest.raises(RefusedForSafety) as refusal:
        locked(tmp_path, publications("tool", digest, url=URL, members={"tool": "tool"}))
    assert refusal.value.code == "download-strange"
    assert list((tmp_path / "cache").glob("sha256/*")) == []


def test_a_disk_that_takes_no_more_is_not_told_as_a_fault_of_the_archive(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packed.tar").write_bytes(archive({"tool": PROGRAM}))

    def full(*streams: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(PreflightRefused, match="No space left on device") as refusal:
        release.take_out([tmp_path / "packed.tar"], {"tool": "tool"}, tmp_path, URL)
    assert refusal.value.code == "disk-full"


@pytest.mark.parametrize(("program", "saw"), [
    (executable(183), "is for arm64, not amd64"), (executable(interpreter=True), "is linked dynamically"),
    (b"#!/bin/sh\n", "is no ELF executable")])
def test_a_published_file_that_hosts_cannot_run_is_refused(
        tmp_path: Path, mirror: Publisher, program: bytes, saw: str) -> None:
    digest = mirror.publish("https://dl.example.org/v1.0.0/tool-amd64", program)
    with pytest.raises(KubewrightError, match=saw):
        locked(tmp_path, publications("tool", digest, url=URL))
    assert list((tmp_path / "cache").glob("sha256/*")) == []


def test_a_mirror_that_lies_gets_nothing_into_the_cache(tmp_path: Path, mirror: Publisher) -> None:
    digest = mirror.publish("https://dl.example.org/v1.0.0/tool-amd64", PROGRAM)
    mirror.faults = ["flipped"]
    with pytest.raises(RefusedForSafety, match="download tool-amd64: nobody gave the published bytes"):
        locked(tmp_path, publications("tool", digest, url=URL))
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.parent.name in ("sha256", "partial")] == []


def test_an_image_comes_by_its_digest_and_is_an_archive_that_containerd_takes(
        tmp_path: Path, mirror: Publisher) -> None:
    mirror.faults = ["token"]
    digest = mirror.publish_image("registry.example.org", "team/tool", [archive({"tool": PROGRAM})],
                                  ("arm64", "amd64"))
    [tool] = locked(tmp_path, publications("tool", digest, image=IMAGE, name="tool.tar")).artifacts
    assert (tool.name, tool.kind, tool.image) == ("tool.tar", "image", "registry.example.org/team/tool:v1.0.0")
    with tarfile.open(stored(tmp_path, tool)) as packed:
        index = json.load(packed.extractfile("index.json"))  # type: ignore[arg-type]
        [entry] = index["manifests"]
        manifest = json.load(packed.extractfile(  # type: ignore[arg-type]
            f"blobs/sha256/{entry['digest'].removeprefix('sha256:')}"))
        blobs = {name.rpartition("/")[2] for name in packed.getnames() if name.startswith("blobs/sha256/")}
    assert entry["annotations"]["io.containerd.image.name"] == tool.image
    assert entry["platform"] == {"architecture": "amd64", "os": "linux"}
    assert {part["digest"].removeprefix("sha256:") for part in (manifest["config"], *manifest["layers"])} < blobs


def test_the_same_image_gives_the_same_archive(tmp_path: Path, mirror: Publisher) -> None:
    digest = mirror.publish_image("registry.example.org", "team/tool", [archive({"tool": PROGRAM})])
    found = publications("tool", digest, image=IMAGE, name="tool.tar")
    assert locked(tmp_path / "one", found) == locked(tmp_path / "two", found)


def test_a_program_is_taken_out_of_an_image(tmp_path: Path, mirror: Publisher) -> None:
    layers = [archive({"opt/bin/tool": b"an older one"}), archive({"opt/bin/tool": PROGRAM}), archive({"etc/x": b"x"})]
    digest = mirror.publish_image("registry.example.org", "team/tool", layers)
    found = publications("tool", digest, image=IMAGE, name="image", members={"tool": "opt/bin/tool"})
    [tool] = locked(tmp_path, found).artifacts
    assert (tool.name, tool.kind, tool.image) == ("tool", "binary", "")
    assert stored(tmp_path, tool).read_bytes() == PROGRAM


def test_architectures_of_one_index_that_come_at_the_same_time_do_not_write_into_one_file(
        tmp_path: Path, mirror: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = mirror.publish_image("registry.example.org", "team/tool", [archive({"tool": PROGRAM})],
                                  ("amd64", "arm64"))
    entry = publications("tool", digest, image=IMAGE, name="tool.tar").model_dump(mode="json", exclude_defaults=True)
    entry["components"]["tool"]["digests"]["1.0.0"]["tool.tar"]["arm64"] = digest
    written, begun = list[Path](), Barrier(2)

    def download(what: Published, partial: Path, progress: Progress, *, patience: Patience) -> Path:
        if what.sha256 == digest:
            written.append(partial)
            begun.wait(10)          # neither has the index before both have begun
        return plain(what, partial, progress, patience=patience)

    monkeypatch.setattr(release, "download", download)
    lock = build_lock({"tool": "1.0.0"}, ["amd64", "arm64"], emit=lambda event: None, cache=Cache(tmp_path / "cache"),
                      catalogue=CATALOGUE, source="release", release=source(Publications.model_validate(entry)))
    assert [a.arch for a in lock.artifacts] == ["amd64", "arm64"]
    assert len(set(written)) == 2
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


def test_an_image_that_is_for_others_is_refused(tmp_path: Path, mirror: Publisher) -> None:
    digest = mirror.publish_image("registry.example.org", "team/tool", [archive({"tool": PROGRAM})], ("s390x",))
    with pytest.raises(PreflightRefused, match="it is not for linux/amd64") as refusal:
        locked(tmp_path, publications("tool", digest, image=IMAGE, name="tool.tar"))
    assert refusal.value.details == ("it is for linux/s390x",)


def test_a_version_without_a_published_digest_is_refused_before_anybody_is_asked(
        tmp_path: Path, mirror: Publisher) -> None:
    with pytest.raises(RefusedForSafety, match=r"tool 2\.0\.0 for amd64: no digest of it is known") as refusal:
        locked(tmp_path, publications("tool", "a" * 64, url=URL), version="2.0.0")
    assert refusal.value.code == "not-published"
    assert "known are: 1.0.0" in refusal.value.details
    assert mirror.asked == []


def test_what_a_lock_pins_is_downloaded_where_the_cache_lacks_it(tmp_path: Path, mirror: Publisher) -> None:
    digest = mirror.publish("https://dl.example.org/v1.0.0/tool-amd64", PROGRAM)
    found = publications("tool", digest, url=URL)
    lock = locked(tmp_path / "elsewhere", found)
    events: list[Event] = []
    [path] = fetched(tmp_path, found, lock, events).values()
    assert path.read_bytes() == PROGRAM
    asked = len(mirror.asked)
    fetched(tmp_path, found, lock, events)
    assert len(mirror.asked) == asked


def test_other_bytes_than_the_lock_pins_are_refused_with_where_they_came_from(
        tmp_path: Path, mirror: Publisher) -> None:
    digest = mirror.publish("https://dl.example.org/v1.0.0/tool-amd64", PROGRAM)
    found = publications("tool", digest, url=URL)
    [tool] = locked(tmp_path, found).artifacts
    with pytest.raises(RefusedForSafety) as refusal:
        fetched(tmp_path, found, ArtifactLock((replace(tool, sha256="a" * 64),)), [])
    assert f"(of {tool.origin}, sha256:{digest})" in "\n".join(refusal.value.details)


def test_a_new_lock_takes_the_newest_published_version_that_is_not_newer_than_ours() -> None:
    versions = release_versions("1.36.3", ["amd64", "arm64"])
    assert versions["kubernetes"] == "1.36.3"
    published = load_publications()
    for component, version in versions.items():
        for arch in ("amd64", "arm64"):
            assert list(published.origins(component, version, arch)), component


def test_the_versions_of_a_lock_of_releases_go_together() -> None:
    entries = tuple(LockedArtifact(name=name, component=component, version=version, arch="amd64", kind="binary",
                                   source="release", sha256="a" * 64, size=1)
                    for component, version in release_versions("1.36.3", ["amd64"]).items()
                    for name in load_catalogue().components[component].binaries)
    assert lock_faults(Kubernetes.of("1.36.3"), ArtifactLock(entries)) == []


def test_what_is_published_gives_every_file_that_hosts_get() -> None:
    published = load_publications().components
    for component in load_catalogue().components.values():
        if not component.lab:
            its = published[component.name].files
            assert {n for name, f in its.items() for n in (f.members or [name])} == set(component.delivered)


def test_a_kubernetes_that_is_not_published_is_refused_and_never_replaced_by_another() -> None:
    assert release_versions("1.36.99", ["amd64"])["kubernetes"] == "1.36.99"
