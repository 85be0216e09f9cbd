"""What a host is: the applier's answers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioner.model.facts import Facts

ABSENT = "absent"


@dataclass(frozen=True)
class ObservedItem:
    """The state string of one item, and what else was seen of it (PEM text, restart causes, InvocationID)."""

    kind: str
    path: str
    state: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HostObserved:
    """Everything one `observe` call answered.

    `clock_off` is by how many seconds the host's clock is certainly ahead of ours, negative for behind: 0 when its
    moment lies between our question and its answer, so a slow line never looks like a wrong clock. `epoch` is the run
    before which the host takes no orders any more, 0 where none was ever installed.
    """

    name: str
    facts: Facts
    items: Mapping[tuple[str, str], ObservedItem]
    clock_off: float = 0.0
    epoch: int = 0

    def state(self, kind: str, path: str) -> str:
        """Return the state string of an item, `absent` for one that was not asked for."""
        item = self.items.get((kind, path))
        return item.state if item else ABSENT

    def extra(self, kind: str, path: str) -> Mapping[str, Any]:
        """Return what else was seen of an item."""
        item = self.items.get((kind, path))
        return item.extra if item else {}
