"""What a run did, told as events with the plan's own words: so that it can be held against what the plan said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.converge.results import HostResult
from provisioner.model.plan import Change, ObjectChange
from provisioner.orchestrate.session import Session

DONE = "done"


def of_results(session: Session, changes: Mapping[str, Sequence[Change]], results: Mapping[str, HostResult]) -> None:
    """Tell what became of every change that a host was handed, as the host itself answered."""
    for host, result in results.items():
        if len(result.changes) == len(changes[host]):       # none where the host did not answer, or still works
            told = [_row(c, str(row["result"])) for c, row in zip(changes[host], result.changes, strict=True)]
            _tell(session, host, changes[host][0].phase, changes=told)


def of_changes(session: Session, host: str, changes: Sequence[Change]) -> None:
    """Tell that changes were made for which the host answers no rows: packages and settings, streamed binaries."""
    if changes:
        _tell(session, host, changes[0].phase, changes=[_row(c, DONE) for c in changes])


def of_objects(session: Session, changes: Sequence[ObjectChange]) -> None:
    """Tell that Kubernetes objects were applied or deleted."""
    rows = [{"identity": c.identity, "action": c.action, "reason": c.reason, "result": DONE} for c in changes]
    _tell(session, "", changes[0].phase, objects=rows)


def _row(change: Change, result: str) -> dict[str, str]:
    return {"kind": change.kind, "path": change.path, "action": change.action, "reason": change.reason,
            "result": result}


def _tell(session: Session, host: str, phase: str, **data: Any) -> None:
    session.tell("changed", host=host, phase=phase, data=data)
