"""A bundle is believed whole or not at all: signed by an operator, every byte as signed, nothing else in it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.artifacts import bundle
from provisioner.artifacts.bundle import Held, Manifest, Packages
from provisioner.artifacts.cache import Cache, Stored
from provisioner.errors import KubewrightError, PreflightRefused, RefusedForSafety, UsageFault
from provisioner.model.artifact import ArtifactLock, LockedArtifact

TOOL, OTHER = b"tool" * 1000, b"other" * 1000


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def held(name: str, data: bytes) -> Held:
    return Held(name=name, sha256=digest(data), size=len(data))


MANIFEST = Manifest(artifacts=(held("tool", TOOL), held("other", OTHER)))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", str(path)], check=True, timeout=60)
    return path


@pytest.fixture
def operators(key: Path) -> list[str]:
    return [key.with_suffix(".pub").read_text().strip()]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for data in (TOOL, OTHER):
        found[digest(data)] = tmp_path / digest(data)
        found[digest(data)].write_bytes(data)
    return found


@pytest.fixture(params=["b.tar", "b"])
def made(request: pytest.FixtureRequest, tmp_path: Path, files: dict[str, Path], key: Path,
         operators: list[str]) -> Path:
    target = tmp_path / str(request.param)
    bundle.write(target, MANIFEST, files, [key], operators)
    return target


def lock(*contents: tuple[str, bytes]) -> ArtifactLock:
    return ArtifactLock(tuple(LockedArtifact(name=name, component=name, version="1.0.0", arch="amd64", kind="binary",
                                             source="go", sha256=digest(data), size=len(data))
                              for name, data in contents))


def test_what_was_written_is_read_and_taken(tmp_path: Path, made: Path, operators: list[str]) -> None:
    read = bundle.read(made, operators)
    assert read.manifest == MANIFEST
    cache = Cache(tmp_path / "cache")
    read.take(cache)
    for data in (TOOL, OTHER):
        path = cache.verified(digest(data))
        assert path is not None and path.read_bytes() == data
    assert read.missing(lock(("tool", TOOL), ("other", OTHER)), Cache(tmp_path / "empty"), {}) == []


def test_what_a_killed_one_left_on_its_way_into_the_cache_is_cleared_by_the_next(
        tmp_path: Path, made: Path, operators: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cache, places, put = Cache(tmp_path / "cache"), set[Path](), Cache.put

    def seen(self: Cache, source: Path, check: Callable[[Path], None], *, expect: str = "") -> Stored:
        places.add(source.parent)
        return put(self, source, check, expect=expect)

    monkeypatch.setattr(Cache, "put", seen)
    bundle.read(made, operators).take(cache)
    [place] = places
    place.mkdir()
    (place / digest(TOOL)).write_bytes(TOOL[:100])
    cache.path(digest(TOOL)).unlink()
    bundle.read(made, operators).take(cache)
    assert places == {place}
    assert not place.exists()
    assert cache.verified(digest(TOOL))


def test_what_the_lock_pins_and_the_bundle_lacks_is_named(tmp_path: Path, made: Path, operators: list[str]) -> None:
    found = bundle.read(made, operators).missing(lock(("tool", TOOL), ("third", b"3")), Cache(tmp_path / "cache"),
                                                 {"debian-12": ["runc"]})
    assert found == [f"third 1.0.0 amd64: sha256 {digest(b'3')}", "packages for debian-12: runc"]


def test_nobody_is_believed_but_operators(made: Path, tmp_path: Path, operators: list[str]) -> None:
    stranger = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFGB3U+Y+jZZa/sEufP5KnIMdPnOnNS1LKkx7aRXXH7A"
    with pytest.raises(RefusedForSafety, match="no operator of this inventory has signed it") as refusal:
        bundle.read(made, [stranger])
    assert refusal.value.code == "bundle-signature"


def test_a_key_that_is_no_operators_signs_nothing(tmp_path: Path, files: dict[str, Path], key: Path) -> None:
    stranger = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFGB3U+Y+jZZa/sEufP5KnIMdPnOnNS1LKkx7aRXXH7A"
    with pytest.raises(PreflightRefused) as refusal:
        bundle.write(tmp_path / "b.tar", MANIFEST, files, [tmp_path / "nowhere", key], [stranger])
    assert refusal.value.details == (f"{tmp_path / 'nowhere'}: there is no such file",
                                     f"{key}: belongs to none of the inventory's operators")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([digest(TOOL), digest(OTHER)])


def test_a_bundle_that_is_there_stays(made: Path, files: dict[str, Path], key: Path, operators: list[str]) -> None:
    with pytest.raises(UsageFault, match="is there already"):
        bundle.write(made, MANIFEST, files, [key], operators)


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as packed:
        return {m.name: packed.extractfile(m).read() for m in packed}  # type: ignore[union-attr]


def packed(path: Path, parts: dict[str, bytes], *more: tarfile.TarInfo) -> None:
    with tarfile.open(path, "w") as target:
        for name, data in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
        for member in more:
            target.addfile(member)


@pytest.fixture
def tar(tmp_path: Path, files: dict[str, Path], key: Path, operators: list[str]) -> Path:
    target = tmp_path / "whole.tar"
    bundle.write(target, MANIFEST, files, [key], operators)
    return target


def refused(path: Path, operators: list[str]) -> KubewrightError:
    with pytest.raises(RefusedForSafety) as refusal:
        bundle.read(path, operators)
    assert "no host was contacted" in "\n".join(refusal.value.details)
    return refusal.value


def without(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        del parts[name]
    return change


def flipped(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        parts[name] = parts[name][:-20] + bytes([parts[name][-20] ^ 1]) + parts[name][-19:]
    return change


@pytest.mark.parametrize(("change", "code", "said"), [
    (flipped(f"files/{digest(TOOL)}"), "bundle-damaged", "tool: is not what was signed: sha256 "),
    (without(f"files/{digest(TOOL)}"), "bundle-damaged", f"tool: is missing, sha256 {digest(TOOL)}"),
    (flipped("manifest.json"), "bundle-signature", ""),
    (flipped("manifest.json.sig"), "bundle-signature", ""),
    (without("manifest.json"), "bundle-damaged", "it has no manifest.json"),
    (without("manifest.json.sig"), "bundle-damaged", "it has no manifest.json.sig"),
    (lambda parts: parts.update({f"files/{digest(b'x')}": b"x"}), "bundle-damaged", "its manifest does not name it"),
    (lambda parts: parts.update({"../outside": b"x"}), "bundle-strange", ""),
    (lambda parts: parts.update({"/etc/passwd": b"x"}), "bundle-strange", ""),
    (lambda parts: parts.update({"files/../../outside": b"x"}), "bundle-strange", ""),
    (lambda parts: parts.update({"readme": b"x"}), "bundle-strange", ""),
])
def test_one_byte_or_one_file_that_differs_refuses_it_all(
        tmp_path: Path, tar: Path, operators: list[str], change: Callable[[dict[str, bytes]], None], code: str,
        said: str) -> None:
    parts = members(tar)
    change(parts)
    packed(tmp_path / "changed.tar", parts)
    refusal = refused(tmp_path / "changed.tar", operators)
    assert refusal.code == code
    assert said in "\n".join(refusal.details)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
                                  tarfile.DIRTYPE])
def test_links_devices_and_directories_are_refused_under_whatever_name(
        tmp_path: Path, tar: Path, operators: list[str], kind: bytes) -> None:
    for name in ("../outside", f"files/{digest(TOOL)}", "manifest.json"):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        packed(tmp_path / "strange.tar", members(tar), member)
        assert refused(tmp_path / "strange.tar", operators).code == "bundle-strange"
        (tmp_path / "strange.tar").unlink()


def test_a_tar_that_is_cut_is_refused_at_every_length(tmp_path: Path, tar: Path, operators: list[str]) -> None:
    whole = tar.read_bytes()
    for length in (0, 100, 512, 3000, len(whole) // 2, len(TOOL) + 2048):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        refused(tmp_path / "cut.tar", operators)


def test_in_a_directory_a_link_or_a_strange_file_is_refused(
        tmp_path: Path, files: dict[str, Path], key: Path, operators: list[str]) -> None:
    bundle.write(tmp_path / "b", MANIFEST, files, [key], operators)
    place = tmp_path / "b" / "files" / digest(TOOL)
    place.unlink()
    place.symlink_to(files[digest(TOOL)])
    assert refused(tmp_path / "b", operators).code == "bundle-strange"


def test_a_bundle_that_is_not_there_is_told_as_that(tmp_path: Path, operators: list[str]) -> None:
    with pytest.raises(PreflightRefused, match="there is no such file"):
        bundle.read(tmp_path / "none.tar", operators)


def test_a_second_bundle_holds_what_the_first_has_not(
        tmp_path: Path, files: dict[str, Path], key: Path, operators: list[str]) -> None:
    manifest = MANIFEST.model_copy(update={"elsewhere": (digest(TOOL),)})
    bundle.write(tmp_path / "delta.tar", manifest, {digest(OTHER): files[digest(OTHER)]}, [key], operators)
    read = bundle.read(tmp_path / "delta.tar", operators)
    assert set(members(tmp_path / "delta.tar")) == {"manifest.json", "manifest.json.sig", f"files/{digest(OTHER)}"}
    cache, pinned = Cache(tmp_path / "cache"), lock(("tool", TOOL), ("other", OTHER))
    assert read.missing(pinned, cache, {}) == [f"tool 1.0.0 amd64: sha256 {digest(TOOL)}"]
    cache.put(files[digest(TOOL)], lambda copy: None)
    assert read.missing(pinned, cache, {}) == []


def test_packages_are_known_by_system_and_by_name(
        tmp_path: Path, files: dict[str, Path], key: Path, operators: list[str]) -> None:
    packages = Packages(name="packages-debian-12-amd64.tar", sha256=digest(OTHER), size=len(OTHER),
                        system="debian-12-amd64", asked=("runc",), versions={"runc": "1.1.5+ds1-1+b1", "libc6": "2.36"})
    bundle.write(tmp_path / "b.tar", Manifest(artifacts=(held("tool", TOOL),), packages=(packages,)), files, [key],
                 operators)
    read = bundle.read(tmp_path / "b.tar", operators)
    assert read.manifest.packages == (packages,)
    empty = Cache(tmp_path / "cache")
    assert read.missing(lock(("tool", TOOL)), empty, {"debian-12-amd64": ["runc"]}) == []
    assert read.missing(lock(("tool", TOOL)), empty, {"debian-12-amd64": ["runc", "haproxy"]}) == [
        "packages for debian-12-amd64: haproxy"]


def test_a_manifest_of_another_version_is_refused(
        tmp_path: Path, files: dict[str, Path], key: Path, operators: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    dump = Manifest.model_dump_json
    monkeypatch.setattr(Manifest, "model_dump_json", lambda self, **more: json.dumps(
        json.loads(dump(self)) | {"format": 2}))
    bundle.write(tmp_path / "b.tar", MANIFEST, files, [key], operators)
    monkeypatch.undo()
    assert "none that this version knows" in "\n".join(refused(tmp_path / "b.tar", operators).details)
