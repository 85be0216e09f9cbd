"""The lab's package repository: what a node may install, served inside its own network."""

from __future__ import annotations

import gzip
import hashlib
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from provisioner.errors import GateFailed
from provisioner.lab import cgroups, network, processes
from provisioner.lab.instance import Instance, LabNetwork
from provisioner.lab.processes import run, start_daemon, wait_until
from provisioner.model.endpoint import Endpoint

PORT = 80
PROCESS = "_repository"      # a host name cannot start with an underscore
START_SECONDS = 15.0


@dataclass(frozen=True)
class PackageFile:
    """A package of the repository: its control text and what apt needs to fetch and check the file."""

    filename: str
    control: str
    size: int
    sha256: str


def packages_text(packages: Iterable[PackageFile]) -> str:
    """Return the `Packages` index of a flat repository."""
    stanzas = (f"{p.control.strip()}\nFilename: ./{p.filename}\nSize: {p.size}\nSHA256: {p.sha256}\n"
               for p in sorted(packages, key=lambda p: p.filename))
    return "\n".join(stanzas)


def release_text(indexes: Mapping[str, bytes], built: float) -> str:
    """Return the `Release` file: every index with its size and digest, and when it was built (apt asks for it)."""
    sums = "".join(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n"
                   for name, data in sorted(indexes.items()))
    return ("Origin: kubewright-lab\nLabel: kubewright-lab\nSuite: lab\nCodename: lab\n"
            f"Date: {formatdate(built, usegmt=True)}\n"
            f"Description: packages of the local lab, unsigned\nSHA256:\n{sums}")


def sources_list(gateway: str) -> str:
    """Return a node's only apt source. `trusted` is for this lab alone: it never leaves the machine."""
    return f"deb [trusted=yes] http://{gateway}/ ./\n"


def build_index(directory: Path) -> int:
    """Write Packages, Packages.gz and Release for the .deb files in `directory`; how many packages there are."""
    packages = [_read_package(path) for path in sorted(directory.glob("*.deb"))]
    plain = packages_text(packages).encode()
    indexes = {"Packages": plain, "Packages.gz": gzip.compress(plain, mtime=0)}
    for name, data in indexes.items():
        (directory / name).write_bytes(data)
    (directory / "Release").write_text(release_text(indexes, time.time()))
    return len(packages)


def _read_package(path: Path) -> PackageFile:
    control = run(["dpkg-deb", "--field", str(path)], doing=f"reading {path.name}")
    # apt asks for the epoch's colon unescaped or escaped, depending on its version: a plain name is safe.
    plain = path.with_name(path.name.replace("%3a", "_"))
    if plain != path:
        path.replace(plain)
    return PackageFile(filename=plain.name, control=control, size=plain.stat().st_size,
                       sha256=hashlib.sha256(plain.read_bytes()).hexdigest())


def is_running(instance: Instance) -> bool:
    """Say whether this instance's server process lives."""
    return processes.is_alive(processes.read_record(instance.state_dir / "repository.json"))


def start(instance: Instance, lab_network: LabNetwork, directory: Path) -> bool:
    """Serve `directory` at the bridge's address, inside the lab's network only; False when it is served already."""
    if is_running(instance):
        return False
    cgroups.end(instance, PROCESS)
    # The plain server of the standard library: it only reads, and only the nodes can reach it.
    command = [sys.executable, "-I", "-m", "http.server", str(PORT), "--bind", lab_network.gateway,
               "--directory", str(directory)]
    start_daemon(command, directory=instance.state_dir, name="repository",
                 netns=network.namespace_path(instance.name), cgroups=cgroups.create(instance, PROCESS))
    with network.inside(instance.name):
        if not wait_until(lambda: network.answers(lab_network.gateway, PORT), START_SECONDS):
            raise GateFailed(f"this machine: serving the lab's packages: nothing answers at "
                             f"{Endpoint(lab_network.gateway, PORT)} after {START_SECONDS:.0f} s",
                             hint=f"less {instance.state_dir / 'repository.log'}", code="lab-repository")
    return True
