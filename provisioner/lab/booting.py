"""Booting nodes that have a disk, and waiting until they let us in: for `lab up`, and for one after a power cut."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Collection, Mapping
from threading import Event

from provisioner.errors import GateFailed
from provisioner.lab import boot_order, image, keys, network, nodes, snapshots, state
from provisioner.lab.image import Image
from provisioner.lab.instance import Instance
from provisioner.lab.nodes import NodeSpec
from provisioner.model.inventory import Inventory

SSH_SECONDS = 120.0        # five nodes on two processors answer within 10 s; a loaded machine gets time


def boot(instance: Instance, inventory: Inventory, specs: Mapping[str, NodeSpec], missing: Collection[str],
         images: Mapping[str, Image]) -> None:
    """Pin every host key, boot what is missing, and wait until all nodes answer. `images` are the nodes' own."""
    if name := snapshots.unfinished(instance):
        raise GateFailed(f"lab {instance.name}: booting nodes: `lab restore {name}` was killed and is not done",
                         hint="kubewright lab up    # finishes that", code="lab-restoring")
    keys.pin(inventory.known_hosts_path, [keys.known_hosts_line(place, s.port, nodes.host_key(instance, s.name))
                                          for s in specs.values() for place in login_places(inventory, s.name)])
    state.each(missing, lambda name: nodes.boot(
        instance, name, _image_of(instance, name, images[name]),
        boot_order.bind(instance, inventory.cluster, name, missing)), "booting")
    stopping = Event()
    state.each(specs, lambda name: _wait_for_ssh(instance, inventory, specs[name], stopping), "waiting for SSH",
               stopping)


def login_places(inventory: Inventory, name: str) -> tuple[str, ...]:
    """Return where a node is logged in at: the lab itself at its address, everybody else where the inventory says."""
    cluster = inventory.cluster
    return tuple(dict.fromkeys((cluster.machine(name).address, cluster.ssh_of(name).host)))


def _image_of(instance: Instance, name: str, built: Image) -> Image:
    """Return the image under the node's disk: the one it was created on."""
    made = nodes.read_spec(instance, name)
    return (image.find(made.image) if made else None) or built


def _wait_for_ssh(instance: Instance, inventory: Inventory, spec: NodeSpec, stopping: Event) -> None:
    """Poll until the node's SSH server answers and lets us become root: the proof that others can start."""
    deadline = time.monotonic() + SSH_SECONDS
    with network.inside(instance.name):
        while not network.ssh_banner(spec.address, spec.port, 2.0).startswith("SSH-"):
            _check_waiting(instance, spec, deadline, "SSH does not answer")
            if stopping.wait(0.1):
                return
        while (saw := _try_login(inventory, spec)) is not None:
            _check_waiting(instance, spec, deadline, saw)
            if stopping.wait(0.1):
                return


def _check_waiting(instance: Instance, spec: NodeSpec, deadline: float, saw: str) -> None:
    console = instance.node_dir(spec.name) / "node-process.log"
    if not nodes.is_running(instance, spec.name):
        lines = console.read_text(errors="replace").splitlines()[-5:] if console.exists() else []
        raise GateFailed(f"{spec.name}: waiting for SSH: the node ended", details=lines, hint=f"less {console}",
                         code="lab-node-ended")
    if time.monotonic() > deadline:
        raise GateFailed(f"{spec.name}: waiting for SSH at {spec.address}: {saw} after {SSH_SECONDS:.0f} s",
                         hint=f"less {console}", code="lab-node-silent")


def _try_login(inventory: Inventory, spec: NodeSpec) -> str | None:
    """Return None when we can become root over SSH, else what the attempt said."""
    call = nodes.ssh_command(inventory.known_hosts_path, inventory.state_dir / "id_ed25519", spec, ["true"])
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return "the login does not end"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["login failed"])[-1]
