"""Packets that the lab's bridge loses on purpose, at a node's port of it: the node itself cannot see why.

The filter is nftables in the lab's namespace, as a switch would do it, so it outlives the node's power cut, and goes
with the lab. What is dropped is read back from the kernel; there is no file that could tell otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.errors import KubewrightError
from provisioner.lab.instance import Instance
from provisioner.lab.network import exists, in_network
from provisioner.lab.processes import run

TABLE = "bridge kubewright_faults"
# Before anything else on the bridge looks at a packet, and after everything has.
CHAINS = {"enter": "prerouting priority -300", "pass": "forward priority -300", "leave": "postrouting priority 300"}


@dataclass(frozen=True)
class Drop:
    """What is lost at a node: all of it, or TCP and UDP of one port (either end), or only what a peer exchanges."""

    host: str
    port: int | None = None
    peer: str | None = None

    def __str__(self) -> str:
        what = f"port {self.port}" if self.port else "everything"
        return f"{what} to and from {self.peer}" if self.peer else what


def rules(drop: Drop, links: Mapping[str, str]) -> tuple[str, ...]:
    """Return the nft commands of one drop; `links` names each node's port on the bridge."""
    own = links[drop.host]
    ways = [("enter", f'iifname "{own}"'), ("leave", f'oifname "{own}"')]
    if drop.peer:
        other = links[drop.peer]
        ways = [("pass", f'iifname "{a}" oifname "{b}"') for a, b in ((own, other), (other, own))]
    ends = [f"meta l4proto {{ tcp, udp }} th {end} {drop.port} " for end in ("dport", "sport")] if drop.port else [""]
    # The words of the comment are what `parse` reads back.
    comment = " ".join([drop.host, str(drop.port or "-"), drop.peer or "-"])
    return tuple(f'add rule {TABLE} {chain} {way} {end}drop comment "{comment}"' for chain, way in ways for end in ends)


def parse(listing: Mapping[str, Any]) -> Iterator[tuple[Drop, str]]:
    """Yield each rule of ours in `nft -j -a list table` as its drop and what `delete rule` calls it."""
    for entry in listing.get("nftables", ()):
        rule = entry.get("rule")
        if rule:
            host, port, peer = str(rule["comment"]).split()
            drop = Drop(host, None if port == "-" else int(port), None if peer == "-" else peer)
            yield drop, f"{rule['chain']} handle {rule['handle']}"


def add(instance: Instance, drop: Drop, links: Mapping[str, str]) -> None:
    """Begin to lose packets; all rules take effect in one moment. Already losing them is fine."""
    if drop in drops(instance):
        return
    table = [f"add table {TABLE}", *(f"add chain {TABLE} {name} {{ type filter hook {hook}; }}"
                                     for name, hook in CHAINS.items())]
    _nft(instance, "\n".join([*table, *rules(drop, links)]), f"{drop.host}: dropping {drop}")


def remove(instance: Instance, *hosts: str) -> None:
    """Let all packets of these nodes through again, those shared with a peer too."""
    ours = [handle for drop, handle in _listed(instance) if {drop.host, drop.peer} & set(hosts)]
    if ours:
        _nft(instance, "\n".join(f"delete rule {TABLE} {handle}" for handle in ours), "undoing a packet filter")


def drops(instance: Instance) -> tuple[Drop, ...]:
    """Return what is lost now."""
    return tuple(dict.fromkeys(drop for drop, _ in _listed(instance)))


def _listed(instance: Instance) -> list[tuple[Drop, str]]:
    if not exists(instance):
        return []
    tables = run(in_network(instance, ["nft", "list", "tables"]), doing="reading the lab's packet filter")
    if f"table {TABLE}" not in tables.splitlines():
        return []
    text = run(in_network(instance, ["nft", "-j", "-a", "list", "table", *TABLE.split()]),
               doing="reading the lab's packet filter")
    return list(parse(json.loads(text)))


def _nft(instance: Instance, script: str, doing: str) -> None:
    try:
        run(in_network(instance, ["nft", script]), doing=doing)
    except KubewrightError as error:
        raise KubewrightError(error.message, details=error.details, code="lab-filter",
                              hint="lsmod | grep nf_tables    # the kernel must filter on bridges") from error
