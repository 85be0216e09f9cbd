"""What a run tells while it runs; the console, the JSON lines and the report read the same events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Event:
    """One line of a run's story; docs/reference/events.md has every type and what its `data` holds.

    `t` is in seconds since 1970; `seconds` is the duration of what ended; `status` is ok, nothing-to-do, failed or
    interrupted; `data` holds plain values.
    """

    type: str
    t: float
    phase: str = ""
    host: str = ""
    status: str = ""
    message: str = ""
    seconds: float | None = None
    data: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the event as plain values with the schema version `v`; empty fields are left out."""
        return {"v": SCHEMA_VERSION} | {k: v for k, v in asdict(self).items() if v not in ("", None)}


Emit = Callable[[Event], None]
