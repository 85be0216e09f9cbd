"""What an operator shows of a run: API and workload apart, the longest run of failures beside their sum, drains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.report.story import OBJECTS, Story

# Series of the prober: who uses the API, and who only what runs in the cluster.
SIDES: Mapping[str, tuple[str, ...]] = {"API": ("vip", "local", "read", "write", "update", "watch"),
                                        "Workload": ("service", "dns")}


@dataclass(frozen=True)
class Side:
    """All series of one side: `in_a_row` are the most failures of one series from one host that followed one another.
    """

    name: str
    series: tuple[str, ...]
    attempts: int
    failures: int
    in_a_row: int | None
    gap_ms: int


@dataclass(frozen=True)
class Drained:
    """A Node that was drained: when it was empty, what the run said of it, and each Pod that left, with how."""

    host: str
    words: str
    pods: tuple[tuple[str, str], ...]


def sides(seen: Mapping[str, Any]) -> tuple[Side, ...]:
    """Return the figures of each side that was measured; a run of before it was counted has no longest run."""
    found, known = [], [series for belong in SIDES.values() for series in belong]
    every = seen.get("series", ())
    others = tuple(str(one["series"]) for one in every if one["series"] not in known)
    for name, belong in {**SIDES, "Other": others}.items():
        of_side = [one for one in every if one["series"] in belong]
        if of_side:
            rows = [int(one["in_a_row"]) for one in of_side if "in_a_row" in one]
            found.append(Side(name, tuple(dict.fromkeys(str(one["series"]) for one in of_side)),
                              sum(int(one["attempts"]) for one in of_side),
                              sum(int(one["failures"]) for one in of_side),
                              max(rows) if rows else None, max(int(one["gap_ms"]) for one in of_side)))
    return tuple(found)


def drains(story: Story) -> Iterator[Drained]:
    """Yield the Nodes that were drained, in their order, each with the Pods that left it."""
    of_objects = [one for one in story.made if one.host == OBJECTS]
    for number, node in enumerate(of_objects):
        if node.kind == "Node" and node.reason.startswith("is drained"):
            pods = []
            for one in of_objects[number + 1:]:
                if one.kind == "Node" and one.reason.startswith("is drained"):
                    break
                if one.kind == "Pod" and f" from {node.path} after " in one.reason:
                    pods.append((one.path, one.reason))
            yield Drained(node.path, node.reason, tuple(pods))
