"""The commands of docs/tutorials/virtual-machines.md, in its order: a box, a machine of Vagrant's, a cluster on it.

libvirt emulates the processor, so that this runs where there is no KVM; it takes its time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.test_tutorials import blocks
from tests.fakes.sshd import keygen
from tests.lab import figures
from tests.lab.hypervisor import Hypervisor, hypervisor, lacking
from tests.lab.machines import ROOT

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(5400),
              pytest.mark.skipif(bool(lacking()), reason=f"not installed: {' '.join(lacking())}"),
              pytest.mark.skipif(os.geteuid() != 0, reason="a box, and a network of its own, need root")]
BOX = ROOT / "scripts" / "vagrant-box"
PAGE = ROOT / "docs" / "tutorials" / "virtual-machines.md"
INVENTORY = "inventories/vagrant-one"
EMULATED = "export KUBEWRIGHT_EMULATE=1\nexport KUBEWRIGHT_INVENTORY"
NO_WAY_OUT = "config:\n  coredns: {upstreams: []}       # for this test: nobody to forward to\n"
AS_TYPED = {"export KUBEWRIGHT_INVENTORY": EMULATED, "kubewright up\n": "kubewright up --yes\n",
            ".venv/bin/python scripts/vagrant-box": f"{sys.executable} {BOX}"}
# Each line tells when it began, so that the figures are of the commands as they were typed.
TIMED = 'trap \'printf "== %s %s\\n" "$(date +%s.%N)" "$BASH_COMMAND"\' DEBUG\n'


def script() -> tuple[str, str]:
    """Return what builds the box, from Debian's mirrors, and all else, in a network without a way out."""
    text = "".join(block for how, _, block in blocks(PAGE) if how == "run by")
    for said, typed in AS_TYPED.items():
        assert said in text, f"{said!r} is not on the page any more"
        text = text.replace(said, typed)
    box, rest = text.split("\n", 1)
    assert box.split()[1] == str(BOX), "the first command is the one that builds the box"
    begin = "set -euo pipefail\n" + TIMED
    return begin + box, begin + rest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return what a reader has: a checkout's Vagrantfile and inventory, a key of their own, and the command."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    public = keygen(tmp_path / "home" / ".ssh" / "id_ed25519")
    (tmp_path / INVENTORY).mkdir(parents=True)
    text = (ROOT / INVENTORY / "cluster.yaml").read_text(encoding="utf-8")
    text, keys = re.subn(r"ssh-ed25519 \S+ replace-with-your-own-key", public.strip(), text)
    assert keys == 1 and "config:\n" in text
    (tmp_path / INVENTORY / "cluster.yaml").write_text(text.replace("config:\n", NO_WAY_OUT), encoding="utf-8")
    shutil.copy(ROOT / "inventories/lab/artifacts.lock", tmp_path / INVENTORY)
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    shutil.copytree(ROOT / "inventories/vagrant", tmp_path / "inventories/vagrant")     # read until another is named
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubewright").write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m provisioner.cli.main "$@"\n', encoding="utf-8")
    (tmp_path / "bin" / "kubewright").chmod(0o755)
    return tmp_path


@pytest.fixture
def libvirt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hypervisor]:
    with hypervisor(tmp_path_factory.mktemp("libvirt")) as here:
        yield here


def seconds_of_commands(printed: str, ended: float) -> dict[str, float]:
    """Return how long each command took, by the lines that told when it began."""
    began = [(float(found[1]), found[2]) for found in re.finditer(r"^== (\S+) (.*)$", printed, re.MULTILINE)]
    ends = [moment for moment, _ in began[1:]] + [ended]
    return {command.replace(f"{ROOT}/", ""): round(end - moment, 1)
            for (moment, command), end in zip(began, ends, strict=True) if not command.startswith("export ")}


def test_a_machine_of_vagrants_becomes_a_cluster_by_the_commands_of_the_page(place: Path, libvirt: Hypervisor) -> None:
    environment = {"HOME": str(place / "home"), "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
                   "KUBEWRIGHT_CACHE": os.environ.get("KUBEWRIGHT_CACHE", str(Path.home() / ".cache" / "kubewright"))}
    build, rest = script()
    built = subprocess.run(["bash", "-c", build], cwd=place, env={**os.environ, **environment}, capture_output=True,
                           text=True, timeout=1800, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    took = seconds_of_commands(built.stdout, time.time())
    done = libvirt.run(["bash", "-c", rest], place, 5000, environment)
    took |= seconds_of_commands(done.stdout, time.time())
    assert done.returncode == 0, done.stdout[-8000:]
    phases = {found[1]: float(found[2]) for found in re.finditer(r"✓ ([a-z-]+) +([0-9.]+)s", done.stdout)}
    figures.record("from Debian's packages to a healthy cluster of one emulated machine", [sum(took.values())],
                   unit="s", commands=took, phases=phases)
    assert f"Next: kubewright -i {place / INVENTORY} lab trust" in done.stdout, "`vagrant up` names what comes next"
    assert re.search(r"Cluster vagrant-one is ready in .* 1 nodes? Ready", done.stdout)
    assert re.search(r"^Cluster vagrant-one +healthy ", done.stdout, re.MULTILINE)
    assert libvirt.virsh("list", "--all", "--name").split() == [], "`vagrant destroy` left no machine"
