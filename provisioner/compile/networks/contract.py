"""What a Pod network is to everything else: one value that says all of it, so that nobody asks for it by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from provisioner.compile.context import ClusterContext, HostContext
from provisioner.compile.parts import Leaving
from provisioner.model.cluster import Cluster, Host
from provisioner.model.desired import Item, KubeObject
from provisioner.model.families import System


def no_items(ctx: HostContext) -> tuple[Item, ...]:
    """Return nothing: people bring it."""
    return ()


def no_objects(site: ClusterContext) -> tuple[KubeObject, ...]:
    """Return nothing: it needs no rights, or people give them."""
    return ()


def no_rules(cluster: Cluster, host: Host, system: System) -> tuple[tuple[str, str], ...]:
    """Return nothing: none that are known."""
    return ()


def no_device(cluster: Cluster, host: Host) -> str:
    """Return nothing: none that is known."""
    return ""


def no_largest(cluster: Cluster) -> int:
    """Return nothing: none that is known."""
    return 0


def no_packets(cluster: Cluster) -> dict[tuple[str, int], str]:
    """Return nothing: none that are known."""
    return {}


@dataclass(frozen=True)
class PodNetwork:
    """One `network.plugin`. Packages, kernel modules, TCP ports and units are in the row of its component.

    `ours`: we install it, so that a node that is not Ready is a fault, and gates wait for all. Else nodes wait for
    whoever brings it, and what needs it is not asked for.

    `config_dir` and `bin_dir` are where containerd looks for CNI configuration and programs, `parents` the directories
    above that must be there, `keeps` those of its own besides; `plugins` are the programs that it calls, beside
    loopback. `cni_config` is the file that `write_cni_config` writes on a node as soon as it has its share of the Pod
    range; containerd calls it first.

    `items` are its part of a host, `objects` what it needs of the API, in the phase `access`. `rules` are the (chain,
    words of a rule in it) that `unit` writes at its start and never again, `device` the one interface through which
    Pods of all other nodes are reached; both are looked after and proved. `packets` are what nodes send each other for
    it: protocol and port, and their name in words, `largest` the bytes of the largest, where the inventory sets that
    and not the interface: 0 where it does not. `announces` is the annotation of a Node by which others find its
    Pods: `unit` writes it when it starts. `leaves` is what it leaves on a host beside our files (compile/leavings.py).
    """

    name: str
    config_dir: str
    bin_dir: str
    ours: bool = False
    parents: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    cni_config: str = ""
    write_cni_config: str = ""
    unit: str = ""
    announces: str = ""
    items: Callable[[HostContext], Iterable[Item]] = no_items
    objects: Callable[[ClusterContext], Iterable[KubeObject]] = no_objects
    rules: Callable[[Cluster, Host, System], tuple[tuple[str, str], ...]] = no_rules
    device: Callable[[Cluster, Host], str] = no_device
    packets: Callable[[Cluster], Mapping[tuple[str, int], str]] = no_packets
    largest: Callable[[Cluster], int] = no_largest
    leaves: tuple[Leaving, ...] = ()
