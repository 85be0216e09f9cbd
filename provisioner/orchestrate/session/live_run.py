"""One run of a verb while it goes on: connections, the lock, its events, and where it may be stopped."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.decide.batches import Limit
from provisioner.errors import Interrupted, KubewrightError
from provisioner.model.cluster import Host
from provisioner.model.draining import Rules
from provisioner.model.events import Emit, Event
from provisioner.model.run import Origin
from provisioner.orchestrate.session import rundir
from provisioner.parallel import waited_for
from provisioner.transport.hosts import Hosts


class Abandoned(Interrupted):
    """A phase beside this one has ended the run."""


@dataclass
class LiveRun:
    """What a run is, whatever it works towards; closed whatever happens.

    What stands in `safe_points` is called between phases and between batches; it raises a KubewrightError to stop
    the run there. `doing` and `ahead` say what is worked on until the next safe point, and which hosts wait for it,
    together for all phases that run beside one another; `in_flight` are (host, id) of the steps that have not
    answered yet, and `left_behind` says what else stays so where the run is stopped at once; `go_on` is the command
    for a person to go on with after a stop, `go_back` returns the one that goes back, where there is one.
    `draining` says how Nodes are emptied. While the run holds the cluster's lock, `epoch` is its number in every
    order to a host, and `still_ours` raises LockHeld when it does not hold it any more: to be called right before
    an act that no host can refuse (on the API, etcd, HAProxy). `written` are the hosts that this run handed changes
    to, `as_they_run` those whose units are judged by what they read when they started and not by what is desired:
    they went back, or nothing of theirs was to change.
    Hosts in `unreachable` are not worked on; those that this run gave up itself are in `failed`, and `not_looked_at`
    are those that need nothing, for they are as last applied; those in `resting` were told to reboot and are not back
    yet. `allowed` are the
    words after `--allow`. `not_kept` says why the run's events are not recorded here any more, where they are not.
    `packages` are archives of OS packages by system, for hosts that are not to ask their own sources.
    `passes` counts the walks over the phases, this one too: an upgrade over several parts of a way takes one for each.
    `made` counts the changes that were made, and `noting` says that control planes are told of this run (runs.py).
    `closing` closes what was opened on top of the connections.
    """

    id: str
    directory: Path
    hosts: Hosts
    emit: Emit
    origin: Origin = field(default_factory=Origin)
    options: dict[str, object] = field(default_factory=dict)
    allowed: tuple[str, ...] = ()
    max_unavailable: Limit = field(default_factory=Limit)
    draining: Rules = field(default_factory=Rules)
    safe_points: list[Callable[[], None]] = field(default_factory=list)
    in_flight: set[tuple[str, str]] = field(default_factory=set)
    left_behind: list[str] = field(default_factory=list)
    go_on: str = ""
    go_back: Callable[[], str] = lambda: ""
    epoch: int | None = None
    still_ours: Callable[[], None] = lambda: None
    unreachable: dict[str, KubewrightError] = field(default_factory=dict)
    failed: dict[str, KubewrightError] = field(default_factory=dict)
    not_looked_at: frozenset[str] = frozenset()
    resting: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    as_they_run: set[str] = field(default_factory=set)
    not_kept: str = ""
    packages: Mapping[str, Path] = field(default_factory=dict)
    passes: int = 1
    made: int = 0
    noting: bool = False
    abandoned: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)  # of what phases beside one another add to
    closing: ExitStack = field(default_factory=ExitStack)
    _doing: dict[int, tuple[str, tuple[str, ...]]] = field(default_factory=dict)    # by thread

    def __post_init__(self) -> None:
        self.go_on = f"kubewright resume {self.id}"

    def tell(self, type_: str, **fields: object) -> None:
        """Emit an event of this run, now."""
        self.emit(Event(type_, time.time(), **fields))  # type: ignore[arg-type]

    def tell_waiting(self, total: int, missing: Sequence[str]) -> None:
        """Tell which hosts have not answered yet; without words that all have."""
        self.tell("waiting", message=waited_for(total, missing))

    def safe_point(self) -> None:
        """Give the word to all who watch the run, when nothing is half done: any of them may end the run by raising."""
        self.stay()
        for watcher in self.safe_points:
            watcher()

    def stay(self) -> None:
        """Raise Abandoned where a phase beside this one has ended the run: asked by whoever only waits."""
        if self.abandoned.is_set():
            raise Abandoned("Stopped.")

    def works_on(self, doing: str, ahead: Sequence[str] = ()) -> None:
        """Note what this thread works on until the next safe point, nothing where it has ended, and who comes after."""
        with self.lock:
            self._doing[threading.get_ident()] = doing, tuple(ahead)

    @property
    def doing(self) -> str:
        with self.lock:
            return ", ".join(dict.fromkeys(doing for doing, _ in self._doing.values() if doing))

    @property
    def ahead(self) -> tuple[str, ...]:
        with self.lock:
            return tuple(dict.fromkeys(host for _, ahead in self._doing.values() for host in ahead))

    def answering(self, hosts: Sequence[Host]) -> list[str]:
        """Return the names of those hosts that have not been found unreachable in this run."""
        return [h.name for h in hosts if h.name not in self.unreachable]

    def close(self, why: BaseException | None) -> None:
        """Close every way and connection, and remove all secrets; an interrupt waits for no host's word.

        Bundles are removed by whoever wrote them, but a phase that nobody waits for comes no more to that.
        """
        if why is not None and not isinstance(why, Exception):
            self.hosts.close()
        try:
            self.closing.close()
        finally:
            self.hosts.close()
            for secrets in rundir.SECRETS:
                shutil.rmtree(self.directory / secrets, ignore_errors=True)
