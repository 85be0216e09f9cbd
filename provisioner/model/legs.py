"""A leg of an upgrade as a plan shows it: the planner's own values stay on their floor (decide/legs.py)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LegShown:
    """One pass over the phases on the way of an upgrade.

    `says` is what moves, `stages` in which order, `drains` the Nodes that are emptied. `final` says what cannot go back
    after it. With `emulates` it puts a minor on trial that behaves as that one, to be decided on by `until`.
    `seconds` is how long it takes where turns take as long as they were measured to (decide/legs.py).
    """

    says: str
    stages: tuple[str, ...]
    drains: tuple[str, ...] = ()
    final: str = ""
    emulates: str = ""
    until: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the leg as plain values."""
        return asdict(self)
