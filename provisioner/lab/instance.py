"""One lab instance: its names and places, all derived from the cluster's name."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.errors import InventoryRefused, LockHeld
from provisioner.files import write_whole
from provisioner.model.cluster import Cluster

STATE_ROOT = Path("/var/lib/kubewright-lab")
LOCK_SECONDS = 180.0      # longer than any `lab up` with a cached image takes


@dataclass(frozen=True)
class Instance:
    """A named set of nodes in one network namespace; two instances share nothing, not even their addresses."""

    name: str
    state_root: Path = STATE_ROOT

    @property
    def namespace(self) -> str:
        """Return the name of the network namespace, and of the cgroup directory, of this instance."""
        return f"kubewright-{self.name}"

    @property
    def state_dir(self) -> Path:
        return self.state_root / self.name

    def node_dir(self, host: str) -> Path:
        """Return the directory that holds everything of one node."""
        return self.state_dir / "nodes" / host

    def machine(self, host: str) -> str:
        """Return the node's machine name; the dot cannot occur in either part, so no two instances can collide."""
        return f"{self.name}.{host}"

    def node_names(self) -> tuple[str, ...]:
        """Return the nodes that have a directory, whatever an inventory says now."""
        nodes = self.state_dir / "nodes"
        return tuple(sorted(p.name for p in nodes.iterdir())) if nodes.is_dir() else ()

    def owner(self) -> str:
        """Return the inventory directory that this instance was brought up from, or an empty string."""
        return str(read_json(self.state_dir / "instance.json").get("inventory", ""))


@dataclass(frozen=True)
class LabNetwork:
    """The lab's network as the nodes see it: the gateway is the bridge, and the way out ends there."""

    gateway: str
    prefix: int
    second_gateway: str = ""        # of IPv6, in dual stack
    second_prefix: int = 0

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return what the bridge has, each with its prefix; the one of IPv6 second."""
        second = (f"{self.second_gateway}/{self.second_prefix}",) if self.second_gateway else ()
        return (f"{self.gateway}/{self.prefix}", *second)


def lab_network(cluster: Cluster) -> LabNetwork:
    """Return bridge address and prefix length: the first address of the first hosts network, of each family."""
    network = cluster.network.hosts[0]
    second = next((other for other in cluster.network.hosts if other.version == 6), None)
    if second is None or not cluster.network.is_dual:
        return LabNetwork(str(network[1]), network.prefixlen)
    return LabNetwork(str(network[1]), network.prefixlen, str(second[1]), second.prefixlen)


def require_lab(cluster: Cluster, inventory: Path) -> None:
    """Refuse an inventory whose machines are not ours to boot and to destroy."""
    if not cluster.lab:
        raise InventoryRefused(
            f"{inventory}: the machines of this inventory are real ones (it does not say `lab: true`)",
            hint="kubewright -i inventories/lab lab up", code="not-a-lab")
    outside = [f"{h.name}: {h.address} is outside {cluster.network.hosts[0]}" for h in cluster.machines
               if h.spec.addresses[0] not in cluster.network.hosts[0]]
    place = lab_network(cluster)
    bridges = {place.gateway, place.second_gateway}
    outside += [f"{h.name}: {address} is the address of the lab's bridge"
                for h in cluster.machines for address in h.addresses if address in bridges]
    if outside:
        raise InventoryRefused(
            f"{inventory}: a lab is one network, and its first address is the bridge", details=outside,
            hint="kubewright validate", code="lab-address")


def read_json(path: Path) -> Mapping[str, Any]:
    """Return the object in `path`, or an empty one when the file is absent or was cut off by a crash."""
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write `text` whole or not at all, and the directory where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text, mode)


@contextmanager
def locked(instance: Instance, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the instance alone: two `lab` verbs on one instance wait for each other, a dead one blocks nobody."""
    instance.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = _wait_for_lock(instance, time.monotonic() + seconds)
    try:
        yield
    finally:
        os.close(handle)


def _wait_for_lock(instance: Instance, deadline: float) -> int:
    path = instance.state_dir / "lock"
    while time.monotonic() < deadline:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # `lab down` removes the file: a lock on a removed file excludes nobody.
            if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        except BlockingIOError:
            pass
        os.close(handle)
        time.sleep(0.1)
    raise LockHeld(f"lab {instance.name}: another lab command is working on it for {LOCK_SECONDS:.0f} s already",
                   hint="kubewright lab status", code="lab-busy")
