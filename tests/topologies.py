"""The shapes of clusters in tests/cases/topologies.yaml: for what is compiled, for hosts in memory, for real nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from provisioner.model.facts import Facts, Interface

FILE = Path(__file__).resolve().parent / "cases" / "topologies.yaml"
LAB = "10.77.0.0/24"
ALL: Mapping[str, Mapping[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Topology:
    """One shape: what of an inventory makes it, who etcd's members are, whether an API server may restart unnoticed."""

    name: str
    api: Mapping[str, Any]
    hosts: Mapping[str, Mapping[str, Any]]
    members: tuple[str, ...]
    rolls: bool
    networks: tuple[str, ...] = (LAB,)

    @property
    def changes(self) -> dict[str, Any]:
        """Return the top-level fields of an inventory that make it of this shape."""
        return {"api": dict(self.api), "hosts": {name: dict(spec) for name, spec in self.hosts.items()},
                "network": {"hosts": list(self.networks), "pods": ["10.244.0.0/16"], "services": ["10.96.0.0/16"],
                            "plugin": "flannel"}}

    def facts(self, facts: Mapping[str, Facts]) -> dict[str, Facts]:
        """Return the facts with the second interface of each load balancer, as the lab's nodes get it."""
        if len(self.networks) == 1:
            return dict(facts)
        return {name: seen if name not in self.with_role("load-balancer") else replace(seen, interfaces=(
            *seen.interfaces, Interface("host1", (f"{self.second_address(name)}/24",), 1500)))
            for name, seen in facts.items()}

    def second_address(self, host: str) -> str:
        """Return a load balancer's address in the VIP's network: with the last number of its own."""
        return f"10.78.0.{str(self.hosts[host]['address']).rpartition('.')[2]}"

    def with_role(self, role: str) -> list[str]:
        """Return the hosts that have a role in the file."""
        return [name for name, spec in self.hosts.items() if role in spec["roles"]]


TOPOLOGIES = tuple(Topology(
    name, one["api"], one["hosts"], tuple(one["members"]), one["rolls"], tuple(one.get("networks", (LAB,))))
    for name, one in ALL.items())
