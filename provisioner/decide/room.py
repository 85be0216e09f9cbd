"""What Pods ask for and what Nodes have: requests against what is allocatable, as the scheduler counts them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

from provisioner.model.draining import Body, has_ended

Amount = Mapping[str, Fraction]
"""Resource -> how much of it; a Pod is one of `pods`."""

PODS, CPU, MEMORY = "pods", "cpu", "memory"
_PARTS = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
          **{letter: Fraction(10 ** (3 * n)) for n, letter in enumerate("kMGTPE", 1)},
          **{f"{letter}i": Fraction(2 ** (10 * n)) for n, letter in enumerate("KMGTPE", 1)}}
_QUANTITY = re.compile(r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))"
                       r"(?:[eE](?P<power>[+-]?\d+)|(?P<unit>[KMGTPE]i|[numkMGTPE])?)")


def amount(text: object) -> Fraction:
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
    return together([total, {k: amount(v) for k, v in (spec.get("overhead") or {}).items()}, {PODS: Fraction(1)}])


def _asked(part: Body) -> Amount:
    return {name: amount(text) for name, text in ((part.get("resources") or {}).get("requests") or {}).items()}


def allocatable(node: Body) -> Amount:
    """Return what a Node has for Pods."""
    return {name: amount(text) for name, text in (node.get("status", {}).get("allocatable") or {}).items()}


def free(node: Body, pods: Iterable[Body]) -> Amount:
    """Return what is left of a Node beside these Pods."""
    used = together(requests(pod) for pod in pods if not has_ended(pod))
    return without(allocatable(node), used)


def lacking(asked: Amount, left: Amount) -> list[str]:
    """Return of which resources there is too little."""
    return [name for name, value in asked.items() if value > left.get(name, Fraction(0))]


def without(left: Amount, taken: Amount) -> Amount:
    """Return what is left when something is taken."""
    return {name: value - taken.get(name, Fraction(0)) for name, value in left.items()}


def said(name: str, value: Fraction) -> str:
    """Return an amount as a person reads it: cores with one decimal, memory in Mi or Gi."""
    if name != MEMORY:
        return f"{float(value):.1f}".removesuffix(".0")
    mebibytes = float(value / 2**20)
    return f"{mebibytes / 1024:.1f}Gi" if mebibytes >= 1024 else f"{mebibytes:.0f}Mi"


def together(amounts: Iterable[Amount]) -> Amount:
    """Return the sum, resource by resource."""
    total: dict[str, Fraction] = {}
    for one in amounts:
        for name, value in one.items():
            total[name] = total.get(name, Fraction(0)) + value
    return total


def _larger(one: Amount, other: Amount) -> Amount:
    return {name: max(one.get(name, Fraction(0)), other.get(name, Fraction(0))) for name in {**one, **other}}
