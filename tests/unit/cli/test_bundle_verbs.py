"""`artifacts bundle` and `up --bundle`: made, verified and refused by the command line, before a host is contacted."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from provisioner.artifacts import debs
from provisioner.artifacts.cache import Cache
from provisioner.artifacts.debs import Fetched
from provisioner.artifacts.lockfile import write_lock
from provisioner.artifacts.supply import packages_asked
from provisioner.cli.main import main
from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.inventory import Inventory
from provisioner.orchestrate.run import bundled
from provisioner.orchestrate.session import session as sessions

HERE = ("-i", "mine")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory with a lock of two files, both in the cache, and its operator's key; no host may be contacted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KUBEWRIGHT_MIRRORS", "off")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / ".ssh" / "id_ed25519")],
                   check=True, timeout=60)
    assert main([*HERE, "init", "10.1.0.11"]) == 0
    write_lock(tmp_path / "mine" / "artifacts.lock", ArtifactLock(tuple(
        pinned(tmp_path, name) for name in ("one", "two"))))
    monkeypatch.setattr(sessions, "open_session", lambda *given, **more: pytest.fail("a host is contacted"))
    return tmp_path


def pinned(place: Path, name: str) -> LockedArtifact:
    (place / "new").write_bytes(name.encode() * 1000)
    stored = Cache().put(place / "new", lambda copy: None)
    return LockedArtifact(name=name, component=name, version="1.0.0", arch="amd64", kind="binary", source="go",
                          sha256=stored.sha256, size=stored.size)


def emptied(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setenv("KUBEWRIGHT_CACHE", str(place / "elsewhere"))


def test_a_bundle_is_written_and_verified_without_the_cache(
        place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*HERE, "artifacts", "bundle", "--out", "b.tar", "--without-packages"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == f"{place / 'b.tar'}: 2 files, 0 MB, signed."
    assert said[-1].endswith(f"then kubewright -i mine up --bundle {place / 'b.tar'}")
    emptied(monkeypatch, place)
    assert main([*HERE, "artifacts", "bundle", "verify", "b.tar"]) == 0
    assert "b.tar: 2 files are what was signed; nothing is missing for mine." in capsys.readouterr().out
    assert main([*HERE, "-o", "json", "artifacts", "bundle", "verify", "b.tar"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema_version": 1, "verified": 2, "elsewhere": 0}


def test_what_it_brings_is_in_the_cache_before_a_host_is_contacted(
        place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main([*HERE, "artifacts", "bundle", "--out", "b", "--without-packages"])
    emptied(monkeypatch, place)
    inventory = Inventory.open("mine")
    assert bundled.packages_in("b", inventory) == {}
    assert Cache().root == place / "elsewhere"
    assert all(Cache().verified(sha256(name)) for name in ("one", "two"))


def test_a_bundle_that_lacks_what_the_lock_pins_is_refused(
        place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    main([*HERE, "artifacts", "bundle", "--out", "b.tar", "--without-packages"])
    write_lock(place / "mine" / "artifacts.lock", ArtifactLock((pinned(place, "one"), pinned(place, "three"))))
    emptied(monkeypatch, place)
    assert main([*HERE, "up", "--yes", "--bundle", "b.tar"]) == 11
    said = capsys.readouterr().err
    assert "it lacks 1 of what this inventory needs" in said
    assert "three 1.0.0 amd64: sha256 " in said and "no host was contacted" in said


def test_a_flipped_byte_is_refused_and_nothing_is_taken(
        place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    main([*HERE, "artifacts", "bundle", "--out", "b.tar", "--without-packages"])
    with tarfile.open("b.tar") as packed:
        [member] = [m for m in packed if m.name.endswith(pinned(place, "two").sha256)]
    data = bytearray(Path("b.tar").read_bytes())
    data[member.offset_data + 5] ^= 1
    Path("b.tar").write_bytes(data)
    emptied(monkeypatch, place)
    assert main([*HERE, "up", "--yes", "--bundle", "b.tar"]) == 15
    assert "two-1.0.0-amd64: is not what was signed" in capsys.readouterr().err
    assert not (place / "elsewhere" / "sha256").exists()


def test_a_bundle_that_is_not_there_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*HERE, "up", "--yes", "--bundle", "none.tar"]) == 11
    assert "none.tar: opening the bundle: there is no such file" in capsys.readouterr().err


def test_a_second_bundle_leaves_out_what_the_first_has(
        place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    main([*HERE, "artifacts", "bundle", "--out", "first.tar", "--without-packages"])
    write_lock(place / "mine" / "artifacts.lock", ArtifactLock((pinned(place, "one"), pinned(place, "three"))))
    assert main([*HERE, "artifacts", "bundle", "--out", "second.tar", "--since", "first.tar",
                 "--without-packages"]) == 0
    assert "second.tar: 1 files, 0 MB, signed, 1 more are in first.tar." in capsys.readouterr().out
    emptied(monkeypatch, place)
    assert main([*HERE, "artifacts", "bundle", "verify", "second.tar"]) == 11
    assert "one 1.0.0 amd64" in capsys.readouterr().err
    write_lock(place / "mine" / "artifacts.lock", ArtifactLock((
        LockedArtifact(name="one", component="one", version="1.0.0", arch="amd64", kind="binary", source="go",
                       sha256=sha256("one"), size=3000),)))
    assert main([*HERE, "artifacts", "bundle", "verify", "first.tar"]) == 0


def sha256(name: str) -> str:
    return hashlib.sha256(name.encode() * 1000).hexdigest()


def test_packages_are_brought_for_hosts_of_their_system(
        place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fetch(names: tuple[str, ...], system: str, arch: str, target: Path, *more: object) -> Fetched:
        target.write_bytes(b"debs")
        return Fetched(target, {name: "1" for name in names} | {"libc6": "2.36"})

    monkeypatch.setattr(debs, "fetch", fetch)
    text = (place / "mine/cluster.yaml").read_text()
    (place / "mine/cluster.yaml").write_text(text.replace("address: 10.1.0.11", "address: 10.1.0.11, system: rhel-9"))
    assert main([*HERE, "artifacts", "bundle", "--out", "b.tar"]) == 0
    said = capsys.readouterr().out
    assert "has RHEL 9: it gets no OS packages from here, dnf takes them from its own sources." in said
    emptied(monkeypatch, place)
    inventory = Inventory.open("mine")
    [(system, archive)] = bundled.packages_in("b.tar", inventory).items()
    assert (system, archive.read_bytes()) == ("debian-12-amd64", b"debs")
    capsys.readouterr()
    main([*HERE, "artifacts", "bundle", "verify", "b.tar"])
    asked = len(packages_asked(inventory.cluster))
    assert asked and f"OS packages in it: {asked + 1}." in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "where to? --out is missing"),
    (["--out", "mine"], "mine: is there already"),
    (["--out", "nowhere/b.tar"], "nowhere/b.tar: there is no such directory"),
])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_fetched(
        place: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*HERE, "artifacts", "bundle", *arguments]) == 64
    assert said in capsys.readouterr().err


def test_who_is_no_operator_signs_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "other"], check=True, timeout=60)
    assert main([*HERE, "--identity", "other", "artifacts", "bundle", "--out", "b.tar", "--without-packages"]) == 11
    assert "belongs to none of the inventory's operators" in capsys.readouterr().err
    assert not Path("b.tar").exists()
