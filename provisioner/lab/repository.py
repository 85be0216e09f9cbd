"""The lab's package repository: what a node may install, served inside its own network."""

from __future__ import annotations

import sys
from pathlib import Path

from provisioner.errors import GateFailed
from provisioner.lab import cgroups, network, processes
from provisioner.lab.instance import Instance, LabNetwork
from provisioner.lab.processes import start_daemon, wait_until
from provisioner.model.endpoint import Endpoint

PORT = 80
PROCESS = "_repository"      # a host name cannot start with an underscore
START_SECONDS = 15.0


def sources_list(gateway: str) -> str:
    """Return a node's only apt source. `trusted` is for this lab alone: it never leaves the machine."""
    return f"deb [trusted=yes] http://{gateway}/ ./\n"


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
