"""Two nodes that reach nothing get a cluster from a signed bundle, made of what stand-ins for the publishers gave."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from provisioner.artifacts.cache import Cache
from provisioner.artifacts.download import MIRRORS
from provisioner.artifacts.lockfile import load_lock, write_lock
from provisioner.artifacts.published import Publications, PublishedFile, load_publications
from provisioner.artifacts.release import Release
from provisioner.artifacts.supply import build_lock, default_versions, held
from provisioner.lab import nodes, processes
from provisioner.model.artifact import ArtifactLock
from tests.fakes.publishers import Publisher, publisher
from tests.lab.apart import apart
from tests.lab.machines import LAB, SHIPPED, Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(900)]
HOSTS = ("cp1", "w1")
ARCH = "amd64"
ROOMY = ("--skip", "room")      # the nodes share this machine's disk, and three copies of all bytes lie on it meanwhile


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The cache of whoever reaches the publishers, and an empty one; both with the nodes' image."""
    images = Cache().root / "images"
    made = (tmp_path_factory.mktemp("outside"), tmp_path_factory.mktemp("inside"))
    for cache in made:
        (cache / "images").symlink_to(images)
    return made


@pytest.fixture(scope="module")
def two(caches: tuple[Path, Path]) -> Iterator[Lab]:
    """Two empty nodes without a source of packages, and a lock whose files came from stand-ins for the publishers."""
    with apart("bundle", HOSTS) as lab:
        write_lock(lab.directory / "artifacts.lock", released(caches[0]))
        lab.run("lab", "up")
        record = processes.read_record(lab.instance.state_dir / "repository.json")
        assert record is not None
        processes.kill_record(record)
        for host in HOSTS:
            root = nodes.paths(lab.instance, host).root
            (root / "etc/apt/sources.list").write_text("")
            shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
        yield lab


def released(cache: Path) -> ArtifactLock:
    """Return a lock of published files: ours, published as upstream does it, and downloaded from there."""
    lock = load_lock(SHIPPED / "artifacts.lock")
    ours = held(lock)
    with publisher() as mirror, pytest.MonkeyPatch.context() as patch:
        patch.setenv(MIRRORS, mirror.url)
        versions = default_versions(LAB.kubernetes, lab=True)
        found = {}
        for name, component in load_publications().components.items():
            files = {a.name: ours[a.sha256] for a in lock.artifacts if a.component == name}
            digests = {n: {ARCH: _publish(mirror, file, n, versions[name], files)}
                       for n, file in component.files.items()}
            found[name] = {"files": component.model_dump(exclude_defaults=True)["files"],
                           "digests": {versions[name]: digests}}
        made = build_lock(versions, [ARCH], emit=lambda event: None, cache=Cache(cache), source="release",
                          release=Release(Publications.model_validate({"components": found})))
        assert mirror.asked
    return made


def _publish(mirror: Publisher, file: PublishedFile, name: str, version: str, ours: Mapping[str, Path]) -> str:
    """Publish our files the way this one is published; returns the digest that it is known by."""
    if file.image:
        host, _, rest = file.image.partition("/")
        config, layer = (b"", _packed({m: ours[n] for n, m in file.members.items()})) if file.members else _image(
            ours[name])
        return mirror.publish_image(host, rest.partition(":")[0], [layer], config=config)
    members = {m.format(version=version, arch=ARCH): ours[n] for n, m in file.members.items()}
    return mirror.publish(file.url.format(version=version, arch=ARCH),
                          _packed(members) if members else ours[name].read_bytes())


def _packed(members: Mapping[str, Path]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as packed:
        for name, path in members.items():
            packed.add(path, name)
    return made.getvalue()


def _image(archive: Path) -> tuple[bytes, bytes]:
    """Return the configuration and the one layer of an image of ours; a registry has them as blobs."""
    with tarfile.open(archive) as packed:
        parts = {m.name: packed.extractfile(m).read() for m in packed if m.isreg()}  # type: ignore[union-attr]

    def blob(descriptor: Mapping[str, str]) -> bytes:
        return parts[f"blobs/{descriptor['digest'].replace(':', '/')}"]

    manifest = json.loads(blob(json.loads(parts["index.json"])["manifests"][0]))
    return blob(manifest["config"]), blob(manifest["layers"][0])


def flip(file: Path) -> None:
    """Change one bit in the middle of a file, or change it back."""
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, io.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))


def test_a_cluster_comes_out_of_a_bundle_on_nodes_that_reach_nothing(
        two: Lab, caches: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRRORS, "off")
    monkeypatch.setenv("KUBEWRIGHT_CACHE", str(caches[0]))
    whole = tmp_path / "whole.tar"
    two.run("artifacts", "bundle", "--out", str(whole))

    monkeypatch.setenv("KUBEWRIGHT_CACHE", str(caches[1]))
    flip(whole)
    refused = two.run("up", "--yes", "--bundle", str(whole), check=False)
    flip(whole)
    assert (refused.returncode, "is not what was signed" in refused.stderr) == (15, True), refused.stderr
    for host in HOSTS:
        assert not (nodes.paths(two.instance, host).root / "var/lib/kubewright").exists()
    assert not (caches[1] / "sha256").exists()

    without = two.run("up", "--yes", *ROOMY, check=False)
    assert (without.returncode, "packages" in without.stderr) == (11, True), without.stderr

    two.run("artifacts", "bundle", "verify", str(whole))
    said = two.run("up", "--yes", *ROOMY, "--bundle", str(whole))
    assert "2 nodes Ready" in said.stdout
    assert "No changes" in two.run("plan").stdout
    assert two.run("status", check=False).returncode == 0
    for host in HOSTS:
        root = nodes.paths(two.instance, host).root
        assert not (root / "var/lib/kubewright/packages").exists()
        assert "Install: " in (root / "var/log/apt/history.log").read_text()
    versions = json.loads(two.kubectl("get", "nodes", "-o", "json"))["items"]
    assert {n["status"]["nodeInfo"]["kubeletVersion"] for n in versions} == {f"v{two.inventory.cluster.kubernetes}"}

    one = tmp_path / "delta.tar"
    two.run("artifacts", "bundle", "--out", str(one), "--since", str(whole), "--without-packages")
    assert one.stat().st_size < 100_000
    two.run("artifacts", "bundle", "verify", str(one))
