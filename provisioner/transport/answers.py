"""What the applier answers, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.model.facts import Facts, Interface
from provisioner.model.inspection import Disk, Inspection, Listener, Packages
from provisioner.model.observed import ObservedItem


def clock_off(epoch: float, asked: float, answered: float) -> float:
    """Return how far a clock that said `epoch` somewhere between two moments of ours is certainly off."""
    return max(0.0, epoch - answered) or min(0.0, epoch - asked)


def facts_of(values: Mapping[str, Any]) -> Facts:
    """Make Facts of the applier's answer."""
    known = {name: values[name] for name in Facts.__dataclass_fields__ if name in values}
    known["interfaces"] = tuple(Interface(i["name"], tuple(i["addresses"]), int(i["mtu"]), str(i.get("mac", "")))
                                for i in values.get("interfaces", ()))
    return Facts(**known)


def items_of(values: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], ObservedItem]:
    """Make observed items of the applier's answer, by identity."""
    return {(i["kind"], i["path"]): ObservedItem(i["kind"], i["path"], i["state"], i.get("extra") or {})
            for i in values}


def inspection_of(answer: Mapping[str, Any]) -> Inspection:
    """Make an Inspection of the applier's answer."""
    return Inspection(
        prepared=bool(answer["prepared"]),
        listeners=tuple(Listener(x["port"], x["address"], x["process"], x["pid"], x["unit"])
                        for x in answer["listeners"]),
        there=frozenset(answer["there"]),
        disks=tuple(Disk(tuple(d["paths"]), d["free_mib"], d["read_only"], d["no_exec"]) for d in answer["disks"]),
        swap=str(answer["swap"]), forward_drops=tuple(answer["forward_drops"]), product=str(answer["product"]),
        services_of_others=tuple(answer["services_of_others"]),
        shut_out={chain: tuple((str(p), int(n)) for p, n in packets) for chain, packets in answer["shut_out"].items()},
        links=dict(answer["links"]), packages=_packages_of(answer["packages"]),
        others=dict(answer["others"]),
        sysctls=tuple((file, key, value) for file, key, value in answer["sysctls"]),
        holders=None if answer["holders"] is None else tuple(answer["holders"]))


def _packages_of(answer: Mapping[str, Any]) -> Packages:
    return Packages(tuple(answer["missing"]), bool(answer["listed"]), dict(answer["sites"]),
                    tuple(answer["removes"]))
