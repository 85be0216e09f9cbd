"""What a run tells while it runs; the console, the JSON lines and the report read the same events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Event:
    """One line of a run's story.

    `type` is run-start, phase-start, waiting, host-done, changed, phase-done, diagnostic, stopping or run-end; `t` is
    seconds since 1970; `seconds` the duration of what ended; `status` ok, failed, interrupted, skipped or
    nothing-to-do; `data` holds plain values. `changed` says what was done: `changes` of a host (kind, path, action,
    reason, result), or
    `objects`.
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
