"""What Pods ask for and what Nodes have: requests against what is allocatable, as the scheduler counts them.

In whole thousandths of a core, and whole units of all else: a part of one counts as one (k8s.io/kubernetes
pkg/scheduler/framework, `Resource`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

from provisioner.model.draining import Body

Amount = Mapping[str, int]
"""Resource -> how much of it; a Pod is one of `pods`."""

PODS, CPU, MEMORY = "pods", "cpu", "memory"
_PARTS = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
          **{letter: Fraction(10 ** (3 * n)) for n, letter in enumerate("kMGTPE", 1)},
          **{f"{letter}i": Fraction(2 ** (10 * n)) for n, letter in enumerate("KMGTPE", 1)}}
_QUANTITY = re.compile(r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))"
                       r"(?:[eE](?P<power>[+-]?\d+)|(?P<unit>[KMGTPE]i|[numkMGTPE])?)")


def amount(name: str, text: object) -> int:
    """Return how much of a resource a quantity is, as it is counted."""
    return math.ceil(quantity(text) * (1000 if name == CPU else 1))


def quantity(text: object) -> Fraction:
    """Read a quantity of the API (`100m`, `1.5Gi`, `2e3`); raises ValueError for what is none."""
    found = _QUANTITY.fullmatch(str(text))
    if not found:
        raise ValueError(f"{text}: no quantity")
    return Fraction(found["number"]) * (Fraction(10) ** int(found["power"]) if found["power"]
                                        else _PARTS[found["unit"] or ""])


def requests(pod: Body) -> Amount:
    """Return what a Pod asks for: its containers together, or where that is more what starts before them, once each.

    As k8s.io/component-helpers/resource.PodRequests: sidecars count beside all that starts after them, and what is
    asked for the Pod as a whole counts instead.
    """
    spec = pod["spec"]
    beside: Amount = {}
    most: Amount = {}
    for container in spec.get("initContainers") or ():
        own = _asked(container)
        if container.get("restartPolicy") == "Always":
            beside = together([beside, own])
            most = _larger(most, beside)
        else:
            most = _larger(most, together([beside, own]))
    running = together([beside, *(_asked(container) for container in spec["containers"])])
    total = {**_larger(most, running), **_asked(spec)}
    return together([total, _counted(spec.get("overhead")), {PODS: 1}])


def _asked(part: Body) -> Amount:
    return _counted((part.get("resources") or {}).get("requests"))


def _counted(quantities: Mapping[str, object] | None) -> Amount:
    return {name: amount(name, text) for name, text in (quantities or {}).items()}


def allocatable(node: Body) -> Amount:
    """Return what a Node has for Pods."""
    return _counted(node.get("status", {}).get("allocatable"))


def lacking(asked: Amount, left: Amount) -> list[str]:
    """Return of which resources there is too little."""
    return [name for name, value in asked.items() if value > left.get(name, 0)]


def without(left: Amount, taken: Amount) -> Amount:
    """Return what is left when something is taken."""
    return {name: value - taken.get(name, 0) for name, value in left.items()}


def said(name: str, value: int) -> str:
    """Return an amount as a person reads it: cores with one decimal, or as thousandths; memory in Mi or Gi."""
    if name == CPU:
        return f"{value}m" if 0 < value < 100 else f"{value / 1000:.1f}".removesuffix(".0")
    if name != MEMORY:
        return str(value)
    mebibytes = value / 2**20
    return f"{mebibytes / 1024:.1f}Gi" if mebibytes >= 1024 else f"{mebibytes:.0f}Mi"


def together(amounts: Iterable[Amount]) -> Amount:
    """Return the sum, resource by resource."""
    total: dict[str, int] = {}
    for one in amounts:
        for name, value in one.items():
            total[name] = total.get(name, 0) + value
    return total


def _larger(one: Amount, other: Amount) -> Amount:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}
