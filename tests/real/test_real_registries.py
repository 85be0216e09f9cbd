"""What containerd is told of registries, with the containerd that we run: mirrors, authorities, a login, a proxy."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioner.artifacts import oci
from provisioner.artifacts.catalogue import Image
from provisioner.compile.registries import DIRECTORY
from provisioner.compile.web_proxy import environment
from provisioner.model.cluster import Cluster
from provisioner.model.desired import File
from tests.fakes.registry import Registry, self_signed, serving
from tests.real.binaries import binary, start, until
from tests.unit.compile.compile_fixture import compiled, inventory

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(120),
              pytest.mark.skipif(os.geteuid() != 0, reason="containerd unpacks an image as root only")]
NAME, LOGIN, HERE = "shop/app", "puller:correct-horse", "127.0.0.1"


@dataclass
class Runtime:
    """A containerd that runs with a cluster's files, and a client that pulls as a kubelet does."""

    crictl: Path
    socket: Path

    def pull(self, image: str, login: str = "") -> str:
        """Pull an image, and return nothing, or what was said against it."""
        creds = ("--creds", login) if login else ()
        done = subprocess.run([self.crictl, "--image-endpoint", f"unix://{self.socket}", "--timeout", "30s", "pull",
                               *creds, image], capture_output=True, text=True, timeout=60, check=False)
        return "" if done.returncode == 0 else done.stderr


def running(stack: ExitStack, directory: Path, cluster: Cluster) -> Runtime:
    """Start a containerd with the files of a worker, moved below a directory."""
    files = {item.path: item.content for item in compiled(cluster).hosts["w1"].items
             if isinstance(item, File) and item.path.startswith("/etc/containerd/")}
    for path, text in files.items():
        place = directory / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.replace(DIRECTORY, f"{directory}{DIRECTORY}"))
    config = directory / "etc/containerd/config.toml"
    socket = directory / "sock"
    config.write_text(config.read_text().replace("version = 3\n", (
        f'version = 3\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
        'disabled_plugins = ["io.containerd.nri.v1.nri"]\n'
        f'[grpc]\n  address = "{socket}"\n[ttrpc]\n  address = "{socket}.ttrpc"\n'), 1))
    start(stack, binary("containerd", directory), {"config": config}, directory)
    made = Runtime(binary("crictl", directory), socket)
    until(lambda: "connection" not in made.pull("nobody.invalid/x:1", "") and socket.exists(), 60, "containerd answers")
    return made


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    program, made = tmp_path / "program", tmp_path / "image.tar"
    program.write_text("any")
    image = Image(archive=made.name, reference="x:1", files={"/program": "program"}, entrypoint=("/program",))
    oci.pack(image, "x:1", "amd64", {"program": program}, made)
    return made


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def cluster(registries: Mapping[str, Any], **more: Any) -> Cluster:
    return inventory(registries=dict(registries), **more)


def test_a_registry_with_an_authority_of_its_own_gives_an_image_for_the_login_and_for_no_other(
        stack: ExitStack, tmp_path: Path, archive: Path) -> None:
    certificate, ca = self_signed(tmp_path, HERE)
    registry = Registry(NAME, login=LOGIN)
    registry.take(archive, "1", "one")
    place = f"{HERE}:{stack.enter_context(serving(registry, HERE, certificate))}"
    runtime = running(stack, tmp_path, cluster({place: {"login": True, "ca": ca}}))
    assert "authorization failed" in runtime.pull(f"{place}/{NAME}:1")
    assert "401" in runtime.pull(f"{place}/{NAME}:1", "puller:wrong")
    assert runtime.pull(f"{place}/{NAME}:1", LOGIN) == ""
    assert [path for _, path, status in registry.asked if status == 200 and "/blobs/" in path]


def test_a_mirror_stands_for_docker_io_also_below_a_path_and_the_second_where_the_first_has_nothing(
        stack: ExitStack, tmp_path: Path, archive: Path) -> None:
    empty, full = Registry(NAME), Registry(f"hub/{NAME}")
    full.take(archive, "1", "one")
    first, second = (stack.enter_context(serving(one, HERE)) for one in (empty, full))
    mirrors = [f"http://{HERE}:{first}", f"http://{HERE}:{second}/v2/hub"]
    runtime = running(stack, tmp_path, cluster({"docker.io": {"mirrors": mirrors, "fallback": False}}))
    assert runtime.pull(f"{NAME}:1") == ""
    assert {status for _, _, status in empty.asked} == {404}
    assert any(path.startswith(f"/v2/hub/{NAME}/manifests/1") for _, path, _ in full.asked)


def test_a_login_without_fallback_is_told_to_the_mirror_alone(stack: ExitStack, tmp_path: Path, archive: Path) -> None:
    certificate, ca = self_signed(tmp_path, HERE)
    mirror, own = Registry(NAME, login=LOGIN), Registry(NAME, login=LOGIN)
    mirror.take(archive, "1", "one")
    place = f"https://{HERE}:{stack.enter_context(serving(mirror, HERE, certificate))}"
    name = f"{HERE}:{stack.enter_context(serving(own, HERE, certificate))}"
    runtime = running(stack, tmp_path, cluster({
        name: {"mirrors": [place], "fallback": False, "login": True, "ca": ca}}))
    assert runtime.pull(f"{name}/{NAME}:1", LOGIN) == ""
    assert runtime.pull(f"{name}/{NAME}:2", LOGIN)
    assert own.asked == []


def test_a_registry_is_asked_through_the_proxy_and_one_that_is_excepted_is_not(
        stack: ExitStack, tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, near = Registry(NAME), Registry(NAME)
    for one in (proxy, near):
        one.take(archive, "1", "one")
    port, own = (stack.enter_context(serving(one, HERE)) for one in (proxy, near))
    made = cluster({"quay.io": {"mirrors": ["http://mirror.example.org"], "fallback": False},
                    "gcr.io": {"mirrors": [f"http://{HERE}:{own}"], "fallback": False}},
                   proxy={"http": f"http://{HERE}:{port}"})
    for variable, value in environment(made).items():
        monkeypatch.setenv(variable, value)
    runtime = running(stack, tmp_path, made)
    assert runtime.pull(f"quay.io/{NAME}:1") == ""
    assert any(path.startswith(f"http://mirror.example.org/v2/{NAME}/") for _, path, _ in proxy.asked)
    assert runtime.pull(f"gcr.io/{NAME}:1") == ""
    assert near.asked and not [path for _, path, _ in proxy.asked if f":{own}" in path]
