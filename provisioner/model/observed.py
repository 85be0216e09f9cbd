"""What a host is: the applier's answers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioner.model.facts import Facts

ABSENT = "absent"
BUT = " but "       # in a state: what is odd beside what is said before it


@dataclass(frozen=True)
class ObservedItem:
    """The state string of one item, and what else was seen of it (PEM text, restart causes, InvocationID)."""

    kind: str
    path: str
    state: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Owner:
    """The cluster that a host belongs to, as the host remembers it: its name, and the digest of its CA."""

    cluster: str
    ca: str

    @classmethod
    def of_answer(cls, answer: Mapping[str, Any] | None) -> Owner | None:
        """Read the applier's answer; None where the host belongs to nobody yet."""
        return cls(str(answer.get("cluster", "")), str(answer.get("ca", ""))) if answer else None


@dataclass(frozen=True)
class HostObserved:
    """Everything one `observe` call answered.

    `clock_off` is by how many seconds the host's clock is certainly ahead of ours, negative for behind: 0 when its
    moment lies between our question and its answer, so a slow line never looks like a wrong clock. `epoch` is the run
    before which the host takes no orders any more, 0 where none was ever installed; `owner` whose it is.
    """

    name: str
    facts: Facts
    items: Mapping[tuple[str, str], ObservedItem]
    clock_off: float = 0.0
    epoch: int = 0
    owner: Owner | None = None

    def state(self, kind: str, path: str) -> str:
        """Return the state string of an item, `absent` for one that was not asked for."""
        item = self.items.get((kind, path))
        return item.state if item else ABSENT

    def extra(self, kind: str, path: str) -> Mapping[str, Any]:
        """Return what else was seen of an item."""
        item = self.items.get((kind, path))
        return item.extra if item else {}
