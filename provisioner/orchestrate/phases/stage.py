"""Bring every artifact that a host lacks into its store: streamed once, checked on arrival, never sent twice."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from provisioner.artifacts.supply import fetch
from provisioner.errors import KubewrightError
from provisioner.model.artifact import ArtifactLock
from provisioner.model.desired import Artifact
from provisioner.model.events import Event
from provisioner.orchestrate.session import degraded, telling
from provisioner.orchestrate.session.phase import counted
from provisioner.orchestrate.session.session import Session
from provisioner.transport.hosts import OneHost
from provisioner.transport.pool import raise_all

PHASE: Final = "stage"
TELL = 5.0      # seconds between two words on how much has been sent


def stage(session: Session) -> str:
    """Stream the missing artifacts to all hosts at once; the plan says which host lacks what."""
    changes = session.changes(PHASE)
    missing = {host: [c.item for c in of_host if isinstance(c.item, Artifact)] for host, of_host in changes.items()}
    missing = {host: items for host, items in missing.items() if items}
    if not missing:
        return ""
    files = _local_files(session, {i.sha256 for items in missing.values() for i in items})
    sent = _Sent(session, sum(i.size for items in missing.values() for i in items))
    told = telling.begun(session, PHASE, {h: changes[h] for h in missing})

    def send(one: OneHost) -> None:
        one.store([(i, files[i.sha256]) for i in missing[one.name]], sent.add,
                     epoch=session.run.epoch)
        told(Event("host-done", time.time(), host=one.name, status="ok"))

    outcomes = session.hosts.map(send, missing)
    if sent.stopped is not None:
        raise sent.stopped          # which has cut the streams, and is no fault of a host
    session.run.stay()
    for host, outcome in outcomes.items():
        if not isinstance(outcome, KubewrightError):
            telling.of_changes(session, host, changes[host])
    faults = {host: o for host, o in outcomes.items() if isinstance(o, KubewrightError)}
    if faults and not degraded.give_up(session, faults):
        raise_all(outcomes)
    return f"{counted(len(missing), 'host')}, {sent.bytes / 1e6:.0f} MB"


def _local_files(session: Session, wanted: set[str]) -> dict[str, Path]:
    """Return the files by digest; what is missing is built, which may take minutes and may be cut anywhere."""
    needed = ArtifactLock(tuple(a for a in session.target.artifacts.artifacts if a.sha256 in wanted))

    def tell(event: Event) -> None:
        session.run.emit(event)
        session.run.safe_point()

    files = fetch(needed, emit=tell)
    absent = wanted - files.keys()
    if absent:
        raise KubewrightError(f"artifacts {', '.join(sorted(absent))}: not in the cache after a fetch")
    return files


class _GivenUp(OSError):
    """Nobody waits for these bytes any more."""


class _Sent:
    """Adds up bytes that several threads send, and tells every few seconds how many of all they are.

    They may be cut anywhere: what has come whole stays, and the next run sends the rest. So whoever watches the run is
    asked as often, and what any of them `stopped` it for ends all streams.
    """

    def __init__(self, session: Session, total: int) -> None:
        self.bytes = 0
        self.stopped: KubewrightError | None = None
        self._session, self._total = session, total
        self._told = time.monotonic()
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if self.stopped is not None or self._session.run.abandoned.is_set():
            raise _GivenUp
        with self._lock:
            self.bytes += count
            due = time.monotonic() - self._told > TELL
            if due:
                self._told = time.monotonic()
        if due:
            self._session.tell("waiting", phase=PHASE,
                               message=f"{self.bytes / 1e6:.0f} of {self._total / 1e6:.0f} MB sent")
            try:
                self._session.run.safe_point()
            except KubewrightError as why:
                self.stopped = why
