"""The program that puts images into containerd, with the containerd that we run: what it imports, what it need not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.artifacts import oci
from provisioner.artifacts.catalogue import Image
from provisioner.compile.render import render
from tests.real.binaries import binary, start, until

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(120),
              pytest.mark.skipif(os.geteuid() != 0, reason="containerd unpacks an image as root only")]
ONE, OTHER = "kubewright.local/one:1", "kubewright.local/other:1"


class Runtime:
    """A containerd of its own, and our program for two images, which notes each archive that it imports."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ctr, self.socket = binary("ctr", directory), directory / "sock"
        self.archives = {ONE: directory / "one.tar", OTHER: directory / "other.tar"}
        for name, archive in self.archives.items():
            self.pack(name, archive, name)
        noting = directory / "noting"
        noting.write_text(f'#!/bin/sh\nfor last; do :; done\n'
                          f'case "$*" in *" import "*) echo "$last" >> {directory}/imported;; esac\n'
                          f'exec {self.ctr} --address {self.socket} "$@"\n')
        noting.chmod(0o755)
        script = render("/opt/kubewright/bin/import-images", archives=[(str(a), n) for n, a in self.archives.items()])
        self.program = directory / "import-images"
        self.program.write_text(script.replace("/usr/local/bin/ctr", str(noting)))

    def pack(self, name: str, archive: Path, text: str) -> None:
        program = self.directory / "program"
        program.write_text(text)
        image = Image(archive=archive.name, reference=name, files={"/program": "program"}, entrypoint=("/program",))
        oci.pack(image, name, "amd64", {"program": program}, archive)

    def run(self) -> list[str]:
        """Run the program as the unit does, and return which images it imported."""
        noted = self.directory / "imported"
        noted.write_text("")
        done = subprocess.run(["sh", self.program], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        names = {str(archive): name for name, archive in self.archives.items()}
        return [names[line] for line in noted.read_text().splitlines()]

    def asked(self, *arguments: str) -> str:
        return subprocess.run([self.ctr, "--address", self.socket, "--namespace", "k8s.io", *arguments], check=True,
                              capture_output=True, text=True, timeout=60).stdout

    def digest(self, name: str) -> str:
        """Return under which digest containerd has an image whole, unpacked and pinned; nothing where it is not so."""
        if not self.asked("images", "check", "--quiet", f"name=={name}"):
            return ""
        line = self.asked("images", "ls", f"name=={name}").splitlines()[1]
        return line.split()[2] if "io.cri-containerd.pinned=pinned" in line else ""


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """Return a containerd that runs and has both images, as after a first start."""
    made = Runtime(tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(f'version = 3\nroot = "{tmp_path}/root"\nstate = "{tmp_path}/state"\n'
                      'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"]\n'
                      f'[grpc]\naddress = "{made.socket}"\n')
    with ExitStack() as stack:
        start(stack, binary("containerd", tmp_path), {"config": config}, tmp_path)
        until(made.socket.exists, 30, "containerd's socket")
        assert made.run() == [ONE, OTHER]
        yield made


def manifest_in(archive: Path) -> str:
    index = subprocess.run(["tar", "-xOf", archive, "index.json"], check=True, capture_output=True, timeout=10).stdout
    return str(json.loads(index)["manifests"][0]["digest"])


def test_what_containerd_has_whole_is_not_imported_again(runtime: Runtime) -> None:
    assert runtime.run() == []
    assert {name: runtime.digest(name) for name in runtime.archives} == {
        name: manifest_in(archive) for name, archive in runtime.archives.items()}


def test_an_image_that_somebody_deleted_is_imported_and_no_other(runtime: Runtime) -> None:
    runtime.asked("images", "rm", "--sync", ONE)
    assert runtime.run() == [ONE]
    assert runtime.digest(ONE) == manifest_in(runtime.archives[ONE])


def test_another_image_of_the_same_name_is_replaced(runtime: Runtime) -> None:
    before = runtime.digest(ONE)
    runtime.pack(ONE, runtime.archives[ONE], "the next")
    assert runtime.run() == [ONE]
    assert runtime.digest(ONE) == manifest_in(runtime.archives[ONE]) != before


def test_an_image_without_a_part_of_its_content_or_not_unpacked_is_imported(runtime: Runtime) -> None:
    packed = {line.split()[0]: unpacked[1] for line in runtime.asked("content", "ls").splitlines()[1:]
              if (unpacked := re.search(r"containerd\.io/uncompressed=(sha256:\w+)", line))}
    runtime.asked("content", "rm", *packed)
    assert runtime.run() == [ONE, OTHER]
    snapshots = [line.split()[0] for line in runtime.asked("snapshots", "ls").splitlines()[1:]]
    assert set(snapshots) == set(packed.values()) and not set(snapshots) & set(packed)
    runtime.asked("snapshots", "rm", snapshots[0])
    assert len(runtime.run()) == 1
    assert all(runtime.digest(name) for name in runtime.archives)


def test_a_label_that_somebody_took_away_is_put_back(runtime: Runtime) -> None:
    runtime.asked("images", "label", ONE, "io.cri-containerd.pinned=")
    assert not runtime.digest(ONE)
    assert runtime.run() == []
    assert runtime.digest(ONE)


def test_an_archive_that_cannot_be_read_is_an_error_of_the_program_and_not_taken_for_an_image(runtime: Runtime) -> None:
    runtime.archives[ONE].write_bytes(hashlib.sha256(b"").digest() * 64)
    done = subprocess.run(["sh", runtime.program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
