"""A run as it is told afterwards: by this machine's copy of its events, by the results the hosts keep, or by both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")
_STEP_ID = re.compile(rf"({RUN_ID.pattern})\.(.+)\.([^.]+)")

DONE, FAILED, INTERRUPTED, RUNNING, UNFINISHED = "done", "failed", "interrupted", "running", "unfinished"
"""How a run ended; `unfinished` has no end and no process: it was killed, or its machine was."""


@dataclass(frozen=True)
class Origin:
    """Who started a run, on which machine, by which verb, and the digest of the inventory that it was about.

    Every step on a host carries it, so that any other machine can tell whose work it finds.
    """

    verb: str = ""
    who: str = ""
    machine: str = ""
    inventory: str = ""

    def to_json(self) -> dict[str, str]:
        """Return it as plain values."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any] | None) -> Origin:
        """Read what `to_json` wrote; what an older version left out is empty."""
        known = document or {}
        return cls(**{name: str(known.get(name, "")) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class StepSeen:
    """One host's part of a batch: its rows are the applier's (kind, path, result, detail)."""

    host: str
    name: str                       # phase and batch: `control-plane.1`
    status: str                     # the applier's word; `running` while it has no result
    seconds: float | None = None
    finished: float | None = None   # seconds since 1970, by the host's clock
    changes: tuple[Mapping[str, Any], ...] = ()
    message: str = ""

    @property
    def phase(self) -> str:
        """Return the phase that the step belongs to."""
        return self.name.rpartition(".")[0]

    @property
    def made(self) -> int:
        """Return how many changes were made, not skipped."""
        return sum(1 for change in self.changes if change.get("result") == "done")


@dataclass(frozen=True)
class PhaseSeen:
    """One phase of a run: `status` as its events say, `running` when it has no end."""

    name: str
    status: str
    seconds: float | None = None
    message: str = ""


@dataclass(frozen=True)
class Run:
    """All that is known of one run; `here` says whether this machine has its events."""

    id: str
    origin: Origin
    outcome: str
    began: float
    seconds: float | None = None
    changes: int = 0
    here: bool = True
    message: str = ""               # what ended it, when that was no success
    phases: tuple[PhaseSeen, ...] = ()
    not_started: tuple[str, ...] = ()
    steps: tuple[StepSeen, ...] = ()
    availability: str = ""          # the prober's result in one line
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain values."""
        return asdict(self)


def split_step(step: str) -> tuple[str, str] | None:
    """Return run id and `phase.batch` of a step's id, or None for a step that no run made."""
    found = _STEP_ID.fullmatch(step)
    return (found[1], f"{found[2]}.{found[3]}") if found else None
