"""OS packages come with all that they depend on, by apt itself, and by nothing that this machine has installed."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from provisioner.artifacts import debs
from provisioner.artifacts.catalogue import machine_arch
from provisioner.errors import PreflightRefused

needs_apt = pytest.mark.skipif(not all(map(shutil.which, ("apt-get", "dpkg-deb"))), reason="no Debian machine")


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A repository of two packages, one of which depends on the other; what apt takes for a sources.list's line."""
    pool = tmp_path / "pool"
    pool.mkdir()
    for name, version, depends in (("tiny", "1:2.0", "Depends: tinier\n"), ("tinier", "1.0", ""), ("other", "3", "")):
        control = tmp_path / name / "DEBIAN" / "control"
        control.parent.mkdir(parents=True)
        control.write_text(f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@b>\n{depends}"
                           "Description: x\n")
        subprocess.run(["dpkg-deb", "--build", str(tmp_path / name), str(pool / f"{name}.deb")], check=True,
                       capture_output=True, timeout=60)
    debs.build_index(pool)
    return f"deb [trusted=yes] copy:{pool} ./"


@needs_apt
def test_a_package_comes_with_what_it_depends_on_and_nothing_else(tmp_path: Path, source: str) -> None:
    fetched = debs.fetch(["tiny"], "debian-12", machine_arch(), tmp_path / "packages.tar", [source])
    assert fetched.versions == {"tiny": "1:2.0", "tinier": "1.0"}
    with tarfile.open(fetched.archive) as packed:
        names = packed.getnames()
        sources = packed.extractfile("sources.list")
        assert sources is not None
        assert sources.read().decode() == f"deb [trusted=yes] file:{debs.PLACE} ./\n"
    assert [n for n in names if n.endswith(".deb")] == ["tinier_1.0_all.deb", "tiny_1_2.0_all.deb"]
    assert {"Packages", "Packages.gz", "Release"} < set(names)


@needs_apt
def test_the_same_packages_are_the_same_bytes_so_that_a_bundle_after_another_leaves_them_out(
        tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = debs.fetch(["tiny"], "debian-12", machine_arch(), tmp_path / "first.tar", [source])
    monkeypatch.setattr(time, "time", lambda: 2e9)
    second = debs.fetch(["tiny"], "debian-12", machine_arch(), tmp_path / "second.tar", [source])
    assert first.archive.read_bytes() == second.archive.read_bytes()


@needs_apt
def test_a_host_installs_from_what_was_packed(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debs, "PLACE", str(tmp_path / "place"))
    fetched = debs.fetch(["tiny"], "debian-12", machine_arch(), tmp_path / "packages.tar", [source])
    place = tmp_path / "place"
    (place / "lists" / "partial").mkdir(parents=True)
    with tarfile.open(fetched.archive) as packed:
        packed.extractall(place, filter="data")
    (place / "status").touch()
    settings = (f"Dir::Etc::sourcelist={place}/sources.list", "Dir::Etc::sourceparts=/dev/null",
                f"Dir::State::lists={place}/lists", "APT::Sandbox::User=root", f"Dir::State::status={place}/status",
                f"Dir::Cache={place}/cache", "Debug::NoLocking=1")
    apt = ["apt-get", *(word for setting in settings for word in ("-o", setting))]
    (place / "cache" / "archives" / "partial").mkdir(parents=True)
    subprocess.run([*apt, "update"], check=True, capture_output=True, timeout=60)
    said = subprocess.run([*apt, "-s", "install", "tiny"], check=True, capture_output=True, text=True, timeout=60)
    assert [line.split()[1] for line in said.stdout.splitlines() if line.startswith("Inst ")] == ["tinier", "tiny"]


@needs_apt
def test_a_source_of_files_that_apt_uses_in_place_is_told_as_that(tmp_path: Path, source: str) -> None:
    with pytest.raises(PreflightRefused, match="apt left no tiny"):
        debs.fetch(["tiny"], "debian-12", machine_arch(), tmp_path / "packages.tar", [source.replace("copy:", "file:")])


@needs_apt
def test_a_package_that_no_source_has_is_told_in_apts_words(tmp_path: Path, source: str) -> None:
    with pytest.raises(PreflightRefused, match="fetching packages for debian-12") as refusal:
        debs.fetch(["missing"], "debian-12", machine_arch(), tmp_path / "packages.tar", [source])
    assert "Unable to locate package missing" in "\n".join(refusal.value.details)
    assert not (tmp_path / "packages.tar").exists()


def test_packages_of_another_system_are_not_taken_from_this_machines_sources(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "fedora", "VERSION_ID": "42"})
    with pytest.raises(PreflightRefused, match="fetch packages for debian-12: it is fedora-42 itself") as refusal:
        debs.fetch(["runc"], "debian-12", "amd64", tmp_path / "packages.tar")
    assert refusal.value.hint == "kubewright artifacts bundle --without-packages"


def test_where_there_is_no_apt_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PreflightRefused, match="there is no apt-get"):
        debs.fetch(["runc"], "debian-12", "amd64", tmp_path / "packages.tar", ["deb file:/nowhere ./"])
