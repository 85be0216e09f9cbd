"""The lab's package repository: what a node may install, served inside its own network."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from provisioner.errors import GateFailed
from provisioner.lab import cgroups, network, processes
from provisioner.lab.instance import Instance, LabNetwork
from provisioner.lab.processes import start_daemon, wait_until
from provisioner.model.endpoint import Endpoint

PORT = 80
PROCESS = "_repository"      # a host name cannot start with an underscore
START_SECONDS = 15.0


def sources_list(gateway: str, system: str) -> str:
    """Return a node's only apt source. `trusted` is for this lab alone: it never leaves the machine."""
    return f"deb [trusted=yes] http://{gateway}/{system} ./\n"


def is_running(instance: Instance) -> bool:
    """Say whether this instance's server process lives."""
    return processes.is_alive(processes.read_record(instance.state_dir / "repository.json"))


def start(instance: Instance, lab_network: LabNetwork, packages: Mapping[str, Path]) -> bool:
    """Serve the packages of each system below its name, at the bridge's address, inside the lab's network only.

    False when they are served already; what is served is links, so that a system may come while nodes run.
    """
    directory = instance.state_dir / "repository"
    directory.mkdir(parents=True, exist_ok=True)
    for system, place in packages.items():
        _link(directory / system, place)
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


def _link(link: Path, target: Path) -> None:
    """Let `link` lead to `target`; a newer image's packages take the place of an older one's at once."""
    fresh = link.with_name(f".{link.name}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
