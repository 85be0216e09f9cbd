"""Nodes of their own for one shape of a cluster, with what it needs around it: a second network, or a load balancer.

One instance for all shapes, one after the other: this machine bears one cluster at a time.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import yaml

from provisioner.lab import nodes
from provisioner.lab.network import in_network
from tests.lab.apart import apart
from tests.lab.footprint import Footprint, differences, footprint
from tests.lab.machines import ROOT, Lab, until
from tests.topologies import Topology

BALANCER = ROOT / "docs" / "how-to" / "balancer" / "haproxy.cfg"
BRIDGE, SECOND = "lab1", "host1"
# The nodes' disk is this machine's, which may be fuller than a kubelet likes by itself.
ROOM = {"memory.available": "100Mi", "nodefs.available": "3%", "imagefs.available": "3%", "nodefs.inodesFree": "3%"}


class Plain(yaml.SafeDumper):
    """Writes the same list out wherever it stands: an inventory takes no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def write(lab: Lab, changes: dict[str, Any]) -> None:
    """Write the lab's inventory with other top-level fields, as a person does; `config` stays what it was."""
    now = yaml.safe_load(lab.file.read_text(encoding="utf-8"))
    lab.file.write_text(yaml.dump(now | changes, Dumper=Plain, sort_keys=False), encoding="utf-8")


def configure(lab: Lab, **config: dict[str, Any]) -> None:
    """Write settings of components into the inventory, beside those that they have there."""
    now = yaml.safe_load(lab.file.read_text(encoding="utf-8"))["config"]
    write(lab, {"config": now | {name: now.get(name, {}) | fields for name, fields in config.items()}})


@contextmanager
def standing(topology: Topology) -> Iterator[Lab]:
    """Give empty nodes of this shape, and take them down."""
    with ExitStack() as stack:
        lab = stack.enter_context(apart("shape"))
        write(lab, topology.changes)
        configure(lab, kubelet={"evictionHard": ROOM})
        lab.run("lab", "up")
        connect(lab, topology)
        if topology.api.get("external"):
            stack.enter_context(balancing(lab, str(topology.api["external"])))
        yield lab


def connect(lab: Lab, topology: Topology) -> None:
    """Give load balancers a second interface in the VIP's network, which the lab's bridge of that network leads to."""
    if len(topology.networks) == 1:
        return

    def ip(*words: str, check: bool = True) -> None:
        subprocess.run(in_network(lab.instance, ("ip", *words)), check=check, capture_output=True, timeout=30)

    ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "stp_state", "0", check=False)
    ip("address", "replace", "10.78.0.1/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    for host in topology.with_role("load-balancer"):
        link = f"v2-{host}"
        ip("link", "delete", link, check=False)
        ip("link", "add", link, "type", "veth", "peer", "name", SECOND)
        ip("link", "set", link, "master", BRIDGE, "up")
        ip("link", "set", SECOND, "netns", str(nodes.init_pid(lab.instance, host)))
        lab.on(host, "ip", "address", "add", f"{topology.second_address(host)}/24", "dev", SECOND)
        lab.on(host, "ip", "link", "set", SECOND, "up")


@contextmanager
def balancing(lab: Lab, at: str) -> Iterator[None]:
    """Run the documented load balancer at this address of the lab, outside its nodes."""
    config = lab.directory / "balancer.cfg"
    config.write_text(BALANCER.read_text(encoding="utf-8").replace("bind :6443", f"bind {at}"), encoding="utf-8")
    process = subprocess.Popen(in_network(lab.instance, ("haproxy", "-db", "-f", str(config))),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is not None or _listens(lab, at), 10, "the load balancer listens")
        assert process.poll() is None, "the load balancer has ended"
        yield
    finally:
        process.terminate()
        process.wait(20)


def _listens(lab: Lab, at: str) -> bool:
    shown = subprocess.run(in_network(lab.instance, ("ss", "-Hltn", "src", at)), capture_output=True, text=True,
                           timeout=30, check=True)
    return bool(shown.stdout.strip())


def unnoticed(lab: Lab, since: float, cut: int = 0) -> dict[str, Any]:
    """Return what the prober saw of the newest run: no failed probe, no cut watch, no acknowledged write lost.

    Where the VIP moves, with it goes the watch by it, and as many requests as `cut` says that were under way.
    """
    seen: dict[str, Any] = next(e["data"] for e in lab.events(since) if e["type"] == "availability")
    assert seen["failures"] <= cut and seen["lost"] == 0 and seen["attempts"] > 50, json.dumps(seen)
    assert seen["cuts"] == 0 or cut, json.dumps(seen)
    return seen


def footprints(lab: Lab) -> dict[str, Footprint]:
    return {host: footprint(lab, host) for host in lab.inventory.cluster.hosts}


def same_as_fresh(lab: Lab, topology: Topology, after: dict[str, Footprint]) -> None:
    """Replace the nodes by fresh ones, and see that they differ in nothing."""
    lab.run("lab", "reset")
    connect(lab, topology)
    found = {host: differences(footprint(lab, host), was) for host, was in after.items()}
    assert not any(found.values()), found


def address_of(lab: Lab, host: str, device: str) -> list[str]:
    """Return the addresses of an interface of a node."""
    return [line.split()[3] for line in lab.on(host, "ip", "-o", "-4", "address", "show", "dev", device).splitlines()]

