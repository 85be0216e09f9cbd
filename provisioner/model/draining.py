"""What becomes of the Pods of a Node that is drained: values that a plan holds, a run does and a report tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self

Body = Mapping[str, Any]
"""An object as the Kubernetes API shows it."""

MOVES = "moves"         # evicted; its controller makes another, and another node can run it
WAITS = "waits"         # evicted; its controller makes another, which waits until this node takes Pods again
ENDS = "ends"           # evicted, and nobody makes another
STAYS = "stays"         # left alone

OURS, THEIRS = "ours", "theirs"     # whose cordon it is
_MIRROR = "kubernetes.io/config.mirror"


@dataclass(frozen=True)
class Placed:
    """Which Pods are on which Nodes, what limits their going, and which volumes are bound to a Node."""

    nodes: Sequence[Body] = ()
    pods: Sequence[Body] = ()
    budgets: Sequence[Body] = ()
    claims: Sequence[Body] = ()
    volumes: Sequence[Body] = ()
    # What was found out about the Nodes and volumes here, by who asked; with other Pods it still holds.
    known: dict[str, Mapping[str, str]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def node(self) -> Mapping[str, Body]:
        """Return the Nodes by name."""
        return {str(node["metadata"]["name"]): node for node in self.nodes}

    @cached_property
    def on(self) -> Mapping[str, Sequence[Body]]:
        """Return the Pods by the Node that they were given to."""
        found: dict[str, list[Body]] = {}
        for pod in self.pods:
            found.setdefault(str(pod.get("spec", {}).get("nodeName") or ""), []).append(pod)
        return found

    @cached_property
    def volume_of(self) -> Mapping[tuple[str, str], Body]:
        """Return the volumes that are bound, by namespace and name of their claim."""
        volumes = {str(v["metadata"]["name"]): v for v in self.volumes}
        bound = {(str(c["metadata"]["namespace"]), str(c["metadata"]["name"])): c["spec"].get("volumeName")
                 for c in self.claims}
        return {claim: volumes[name] for claim, name in bound.items() if name in volumes}

    @cached_property
    def siblings(self) -> Mapping[str, int]:
        """Return how many Pods each controller has that are not ending, by its uid."""
        found: dict[str, int] = {}
        for pod in self.pods:
            owner = controller_of(pod)
            if owner and not pod["metadata"].get("deletionTimestamp") and not has_ended(pod):
                found[str(owner["uid"])] = found.get(str(owner["uid"]), 0) + 1
        return found

    def with_pods(self, pods: Sequence[Body]) -> Self:
        """Return the same with other Pods."""
        return replace(self, pods=pods)


@dataclass(frozen=True)
class PodFate:
    """What becomes of one Pod; `why` says so in words, `loses` names what is on the Node alone and goes with it.

    `held` are the budgets that forbid its going now. One that is `forced` is deleted where a budget does so, now or
    when others have gone before it.
    """

    namespace: str
    name: str
    uid: str
    fate: str
    why: str
    owner: str = ""
    loses: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    forced: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def leaves(self) -> bool:
        return self.fate != STAYS


@dataclass(frozen=True)
class Hold:
    """A budget that lets no Pod go now, the Pods on the Node that it holds, why in words, and since when.

    `never` says that waiting alone does not help: it would let none go with every Pod healthy.
    """

    budget: str
    pods: tuple[str, ...]
    why: str
    since: str = ""
    never: bool = False


@dataclass(frozen=True)
class Drain:
    """One Node that is emptied: what becomes of each Pod, what holds some, and whose cordon it has already."""

    host: str
    pods: tuple[PodFate, ...] = ()
    holds: tuple[Hold, ...] = ()
    cordon: str = ""
    ready: bool = True

    @property
    def leaving(self) -> tuple[PodFate, ...]:
        """Return the Pods that must leave."""
        return tuple(pod for pod in self.pods if pod.leaves)

    @property
    def forced(self) -> frozenset[str]:
        """Return the uids of those that are deleted where their budget forbids that they are evicted."""
        return frozenset(pod.uid for pod in self.pods if pod.forced)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"host": self.host, "cordon": self.cordon, "ready": self.ready,
                "pods": [asdict(pod) for pod in self.pods], "holds": [asdict(hold) for hold in self.holds]}


@dataclass(frozen=True)
class Rules:
    """How a run drains: how long the Pods of each Node may take, and in which namespaces budgets are overridden."""

    timeout: float = 300.0
    force: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rehearsed:
    """One Node of a simulated roll: its drain, the controllers whose only Pod goes, and the Pods without room."""

    drain: Drain
    single: tuple[str, ...] = ()
    no_room: tuple[str, ...] = ()


def must_leave(pod: Body) -> bool:
    """Say whether a Pod keeps its Node from being empty: a DaemonSet's, a static or an ended one does not."""
    return not stays_for(pod)


def stays_for(pod: Body) -> str:
    """Return why a Pod is left where it is, "" where it must leave."""
    if _MIRROR in (pod["metadata"].get("annotations") or {}):
        return "a static Pod: its kubelet runs it, whatever the API says"
    owner = controller_of(pod)
    if owner and owner.get("kind") == "DaemonSet":
        return f"of DaemonSet {owner['name']}: one belongs on every node"
    return "it has ended" if has_ended(pod) else ""


def has_ended(pod: Body) -> bool:
    """Say whether nothing of a Pod runs any more."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def controller_of(pod: Body) -> Body | None:
    """Return the reference to who makes another when this one is gone; None where nobody does."""
    owners: Sequence[Body] = pod["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def is_ready(body: Body) -> bool:
    """Say whether the Ready condition of a Pod, or of a Node, is True."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in body.get("status", {}).get("conditions", ()))
