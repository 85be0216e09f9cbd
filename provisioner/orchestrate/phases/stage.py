"""Bring every artifact that a host lacks into its store, from a mirror or from here; each is checked on arrival."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from provisioner.artifacts.supply import fetch
from provisioner.compile import web_proxy
from provisioner.decide.spreading import worth
from provisioner.errors import KubewrightError
from provisioner.model.artifact import ArtifactLock
from provisioner.model.desired import Artifact
from provisioner.model.events import Emit, Event
from provisioner.orchestrate.phases.mirrored import from_mirror
from provisioner.orchestrate.phases.spreading import News, Wanted, spread
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
    sent = _Sent(session, sum(i.size for items in missing.values() for i in items))
    sent.tell_of_hosts = telling.begun(session, PHASE, {h: changes[h] for h in missing})
    lacking = _for_themselves(session, missing, sent)
    files = _local_files(session, {i.sha256 for items in lacking.values() for i in items})
    outcomes = dict.fromkeys(missing) | dict(
        _bring(session, {h: {i: files[i.sha256] for i in items} for h, items in lacking.items()}, sent))
    if sent.stopped is not None:
        raise sent.stopped          # which has cut the streams, and is no fault of a host
    session.run.stay()
    for host, outcome in outcomes.items():
        if not isinstance(outcome, KubewrightError):
            telling.of_changes(session, host, changes[host])
    faults = {host: o for host, o in outcomes.items() if isinstance(o, KubewrightError)}
    if faults and not degraded.give_up(session, faults):
        raise_all(outcomes)
    ways = "".join(f", {count / 1e6:.0f} MB of it {way}" for way, count in (
        ("from host to host", sent.between), ("from the mirror", sent.from_mirror)) if count)
    return f"{counted(len(missing), 'host')}, {sent.bytes / 1e6:.0f} MB{ways}"


def _for_themselves(session: Session, missing: Mapping[str, list[Artifact]], sent: _Sent,
                    ) -> Mapping[str, list[Artifact]]:
    """Let hosts fetch from the inventory's mirror, where it has one, and return what they lack after that."""
    mirror = web_proxy.mirror_of(session.cluster)
    if mirror is None:
        return missing
    lacking, faults = from_mirror(session.hosts, missing, mirror, sent, epoch=session.run.epoch)
    if sent.stopped is not None:
        raise sent.stopped
    session.run.stay()
    for host, fault in faults.items():
        sent.odd(host, f"{fault.message}; it gets the rest from here")
    for host in missing.keys() - lacking.keys():
        sent.complete(host)
    return lacking


def _bring(session: Session, wanted: Wanted, sent: _Sent) -> Mapping[str, KubewrightError | None]:
    """Bring all hosts what they lack, and return every host's outcome."""
    if worth({host: list(files) for host, files in wanted.items()}):
        addresses = {host: session.cluster.machine(host).address for host in wanted}
        return spread(session.hosts, wanted, addresses, sent, epoch=session.run.epoch)

    def send(one: OneHost) -> None:
        one.store(list(wanted[one.name].items()), sent.sent, epoch=session.run.epoch)
        sent.complete(one.name)

    return session.hosts.map(send, wanted)


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


class _Sent(News):
    """Adds up bytes that are sent or go from host to host, and tells every few seconds how many of all they are.

    They may be cut anywhere: what has come whole stays, and the next run sends the rest. So whoever watches the run is
    asked as often, and what any of them `stopped` it for ends all streams.
    """

    def __init__(self, session: Session, total: int) -> None:
        self.bytes = 0
        self.between = 0        # of these, from host to host
        self.from_mirror = 0    # of these, from the mirror
        self.stopped: KubewrightError | None = None
        self._session, self._total = session, total
        self._told = time.monotonic()
        self._lock = threading.Lock()
        self.tell_of_hosts: Emit = session.run.emit

    def given(self, host: str, item: Artifact) -> None:
        with self._lock:
            self.bytes += item.size
            self.between += item.size

    def mirrored(self, host: str, item: Artifact) -> None:
        with self._lock:
            self.bytes += item.size
            self.from_mirror += item.size

    def complete(self, host: str) -> None:
        self.tell_of_hosts(Event("host-done", time.time(), host=host, status="ok"))

    def odd(self, host: str, message: str) -> None:
        self._session.tell("diagnostic", phase=PHASE, host=host, message=message)

    def sent(self, count: int) -> None:
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
