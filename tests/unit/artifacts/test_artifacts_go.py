"""What decides the bytes of a Go build is pinned, and a surprise is refused."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from provisioner.artifacts import go as gobuild
from provisioner.artifacts import gosource
from provisioner.artifacts.cache import Cache, sha256_of
from provisioner.artifacts.catalogue import load_catalogue
from provisioner.artifacts.pin import go_mod_text
from provisioner.artifacts.toolchain import Toolchain
from provisioner.errors import KubewrightError

MAIN = '''package main

import (
\t"fmt"

\t_ "example.org/m/pkg/backend/udp"
\t_ "example.org/m/pkg/backend/vxlan"
)
'''


def test_only_the_named_imports_are_cut() -> None:
    cut = gosource.without_imports(MAIN, ["example.org/m/pkg/backend/udp"], "m 1.0.0")
    assert cut == MAIN.replace('\t_ "example.org/m/pkg/backend/udp"\n', "")


@pytest.mark.parametrize("text", [
    MAIN.replace("backend/udp", "backends/udp"),
    MAIN.replace('_ "example.org/m/pkg/backend/udp"', 'udp "example.org/m/pkg/backend/udp"'),
    MAIN.replace('\t_ "example.org/m/pkg/backend/udp"\n', '\t_ "example.org/m/pkg/backend/udp"\n' * 2),
])
def test_imports_that_moved_are_refused(text: str) -> None:
    with pytest.raises(KubewrightError, match=r"m 1\.0\.0: main\.go does not import example\.org/m/pkg/backend/udp"):
        gosource.without_imports(text, ["example.org/m/pkg/backend/udp"], "m 1.0.0")


def test_the_environment_cannot_change_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GOFLAGS": "-race", "CGO_ENABLED": "1", "GOOS": "darwin", "GOAMD64": "v4",
                        "GOTOOLCHAIN": "auto", "GOWORK": "/elsewhere", "GOROOT": "/elsewhere"}.items():
        monkeypatch.setenv(name, value)
    made = gosource.go_environment("arm64")
    assert {name: made[name] for name in gosource.PINNED} == gosource.PINNED
    assert made["GOARCH"] == "arm64" and "GOROOT" not in made


def test_every_version_of_the_catalogue_has_its_pinned_modules() -> None:
    for component in load_catalogue().components.values():
        for version in component.versions if component.go else ():
            directory = component.module_dir(version)
            assert (directory / "go.sum").is_file(), directory
            text = (directory / "go.mod").read_text()
            assert f"module kubewright.local/build/{component.name}\n" in text
            for module in component.go_source.modules:
                assert f"{module} v{version}\n" in text


def test_the_first_go_mod_takes_upstreams_language_version_and_staging_modules() -> None:
    upstream = ("module k8s.io/kubernetes\n\ngo 1.26.0\n\ngodebug default=go1.26\n\nreplace (\n"
                "\tk8s.io/api => ./staging/src/k8s.io/api\n)\n")
    text = go_mod_text(load_catalogue().components["kubernetes"], "1.36.3", [upstream])
    assert "\ngo 1.26.0\n" in text and "godebug default=go1.26\n" in text
    assert "replace k8s.io/api => k8s.io/api v0.36.3\n" in text


def test_the_name_that_go_gives_a_program_is_known_and_no_two_of_a_component_share_it() -> None:
    components = load_catalogue().components
    etcd = components["etcd"]
    assert [gobuild.executable(p, etcd) for p in etcd.go_source.binaries.values()] == ["server", "etcdctl", "etcdutl"]
    assert gobuild.executable(".", components["flannel"]) == "flannel"
    for component in components.values():
        names = [gobuild.executable(p, component) for p in (component.go.binaries.values() if component.go else ())]
        assert len(set(names)) == len(names), component.name


TOOLCHAIN = Toolchain(load_catalogue(), Cache())


@pytest.mark.skipif(TOOLCHAIN.on_path() is None, reason="the pinned Go toolchain is not on this machine")
def test_pause_is_built_to_the_same_bytes_twice_and_ends_on_sigterm(tmp_path: Path) -> None:
    catalogue = load_catalogue()
    digests, built = set(), {}
    for name in ("a", "b"):
        work = tmp_path / name
        work.mkdir()
        built = gobuild.build(catalogue.components["pause"], "3", "amd64", TOOLCHAIN, work, lambda message: None)
        digests.add(sha256_of(built["pause"]))
    assert len(digests) == 1
    with subprocess.Popen([built["pause"]]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
