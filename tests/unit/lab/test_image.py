"""Image, sources, repository and keys: what goes in, what stays out, what an interruption leaves."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.artifacts import debs
from provisioner.artifacts.debs import PackageFile
from provisioner.errors import GateFailed
from provisioner.lab import image, keys, requirements, sources
from provisioner.model.families import System

DEB822 = """Types: deb
# a remark
URIs: http://deb.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://third.example/debian
Suites: bookworm
Components: main
Signed-By: /etc/apt/keyrings/third.gpg

Types: deb
URIs: https://tools.example/apt
Suites: bookworm
Components: stable
"""


def test_only_debians_own_entries_are_taken() -> None:
    stanzas = sources.debian_stanzas({"debian.sources": DEB822})
    assert len(stanzas) == 1 and "http://deb.example/debian" in stanzas[0] and "remark" not in stanzas[0]


def test_one_line_entries_are_understood() -> None:
    text = ("deb http://deb.example/debian bookworm main contrib\n"
            "# deb http://off.example/debian bookworm main\n"
            "deb-src http://deb.example/debian bookworm main\n"
            "deb [signed-by=/x/third.gpg] http://third.example bookworm main\n"
            "deb http://other.example/apt cloud-bookworm main\n")
    assert sources.debian_stanzas({"sources.list": text}) == (
        "Types: deb\nURIs: http://deb.example/debian\nSuites: bookworm\nComponents: main contrib",)


def test_a_disabled_entry_is_left_out() -> None:
    text = DEB822.replace("Types: deb\n# a remark", "Enabled: no\nTypes: deb")
    assert sources.debian_stanzas({"debian.sources": text}) == ()


def test_only_how_packages_travel_is_taken_over_from_apt() -> None:
    dump = ('Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::https::Proxy "";\n'
            'Acquire::Check-Valid-Until "false";\nDPkg::Post-Invoke:: "rm -rf /x";\n')
    assert sources.transport_settings(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3128";', 'Acquire::Check-Valid-Until "false";')


def test_what_the_product_installs_is_not_in_the_image() -> None:
    assert not set(image.PACKAGES) & (set(image.REPOSITORY_PACKAGES) - {"kmod"})
    assert {"haproxy", "keepalived", "runc", "conntrack", "python3-apt"} <= set(image.REPOSITORY_PACKAGES)


def test_the_key_follows_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.recipe_key("x86_64")
    assert image.recipe_key("x86_64") == before != image.recipe_key("aarch64")
    monkeypatch.setattr(image, "PACKAGES", (*image.PACKAGES, "vim"))
    assert image.recipe_key("x86_64") != before


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBEWRIGHT_CACHE", str(tmp_path))
    return tmp_path / "images"


def test_a_failed_build_leaves_nothing_that_passes_for_an_image(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(building: Path, system: System) -> None:
        (building / "root").mkdir()
        raise GateFailed("the network went away")

    monkeypatch.setattr(image, "_bootstrap", half)
    with pytest.raises(GateFailed):
        image.ensure(lambda text: None)
    assert image.find(image.current_key()) is None
    assert [p.name for p in cache.iterdir()] == [".lock"]


def test_the_rest_of_a_killed_build_is_removed_and_the_next_build_is_whole(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / ".building-dead/root").mkdir(parents=True)
    monkeypatch.setattr(image, "_bootstrap", lambda building, system: (building / "root/etc/ssh").mkdir(parents=True))
    built, was_built = image.ensure(lambda text: None)
    assert was_built and not (cache / ".building-dead").exists()
    assert (built.root / "usr/lib/lab-node/prepare").stat().st_mode & 0o111
    assert image.ensure(lambda text: None) == (built, False)


def test_the_image_has_no_identity_and_no_sources(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bootstrap(building: Path, system: System) -> None:
        for path, text in {"etc/ssh/ssh_host_rsa_key": "k", "etc/machine-id": "1234", "etc/hostname": "builder",
                           "etc/apt/sources.list.d/0.sources": "x", "etc/apt/apt.conf.d/99mmdebstrap": "p"}.items():
            (building / "root" / path).parent.mkdir(parents=True, exist_ok=True)
            (building / "root" / path).write_text(text)

    monkeypatch.setattr(image, "_bootstrap", bootstrap)
    root = image.ensure(lambda text: None)[0].root
    assert (root / "etc/machine-id").read_text() == ""
    assert (root / "etc/apt/sources.list").read_text() == ""
    for gone in ("etc/ssh/ssh_host_rsa_key", "etc/hostname", "etc/apt/sources.list.d/0.sources",
                 "etc/apt/apt.conf.d/99mmdebstrap"):
        assert not (root / gone).exists()
    assert (root / "etc/systemd/system/apt-daily.timer").readlink() == Path("/dev/null")


def test_the_index_names_every_package_with_size_and_digest() -> None:
    text = debs.packages_text([PackageFile("b_1.deb", "Package: b\nVersion: 1\n", 7, "d" * 64),
                                     PackageFile("a_1.deb", "Package: a\nVersion: 1\n", 5, "e" * 64)])
    first, second = text.split("\n\n")
    assert first == f"Package: a\nVersion: 1\nFilename: ./a_1.deb\nSize: 5\nSHA256: {'e' * 64}"
    assert second.startswith("Package: b\n")


def test_the_release_file_lets_apt_check_the_indexes() -> None:
    text = debs.release_text({"Packages": b"abc"}, 0)
    assert f" {hashlib.sha256(b'abc').hexdigest()} 3 Packages\n" in text
    assert "Date: Thu, 01 Jan 1970 00:00:00 GMT\n" in text


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_a_real_package_is_indexed_under_a_name_that_needs_no_escaping(tmp_path: Path) -> None:
    control = tmp_path / "src/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text("Package: tiny\nVersion: 1:2.0\nArchitecture: all\nMaintainer: a <a@b>\nDescription: x\n")
    pool = tmp_path / "pool"
    pool.mkdir()
    subprocess.run(["dpkg-deb", "--build", str(tmp_path / "src"), str(pool / "tiny_1%3a2.0_all.deb")], check=True,
                   capture_output=True)
    assert debs.build_index(pool) == 1
    index = (pool / "Packages").read_text()
    assert "Package: tiny\n" in index and "Filename: ./tiny_1_2.0_all.deb\n" in index
    assert (pool / "tiny_1_2.0_all.deb").is_file()
    assert gzip.decompress((pool / "Packages.gz").read_bytes()).decode() == index


def test_the_operators_key_is_private_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / ".kubewright/id_ed25519"
    public = keys.operator_key(path)
    assert public.startswith("ssh-ed25519 ") and keys.operator_key(path) == public
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    path.with_name("id_ed25519.pub").unlink()
    assert keys.operator_key(path).split()[:2] == public.split()[:2]
    assert sorted(p.name for p in path.parent.iterdir()) == ["id_ed25519", "id_ed25519.pub"]


def test_a_pin_names_address_port_and_key_without_the_comment() -> None:
    assert keys.known_hosts_line("10.77.0.11", 22, "ssh-ed25519 AAAA cp1") == "10.77.0.11 ssh-ed25519 AAAA"
    assert keys.known_hosts_line("10.77.0.11", 2222, "ssh-ed25519 AAAA") == "[10.77.0.11]:2222 ssh-ed25519 AAAA"


def test_pinning_replaces_the_hosts_own_line_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    keys.pin(path, ["10.77.0.11 ssh-ed25519 OLD", "10.77.0.1 ssh-ed25519 OTHER"])
    keys.pin(path, ["10.77.0.11 ssh-ed25519 NEW"])
    assert path.read_text() == "10.77.0.1 ssh-ed25519 OTHER\n10.77.0.11 ssh-ed25519 NEW\n"
    keys.unpin(path, ["10.77.0.11"])
    assert path.read_text() == "10.77.0.1 ssh-ed25519 OTHER\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_missing_tools_are_told_with_the_packages_that_bring_them() -> None:
    found = {name: name not in ("systemd-nspawn", "ssh", "ssh-keygen") for name in requirements.TOOLS}
    assert requirements.missing_tools(requirements.TOOLS, found) == (
        ("systemd-nspawn", "ssh", "ssh-keygen"), ("systemd-container", "openssh-client"))


def test_what_the_kernel_lacks_is_told_all_at_once() -> None:
    faults = requirements.kernel_faults("nodev\tproc\n\text4\n", False, {"bridge": False, "veth": True})
    assert len(faults) == 2 and "overlay" in faults[0] and "bridge" in faults[1]
    assert requirements.kernel_faults("nodev\toverlay\n", False, {"bridge": True, "veth": True}) == ()
    assert requirements.kernel_faults("\text4\n", True, {}) == ()
