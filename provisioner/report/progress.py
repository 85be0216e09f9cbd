"""What a run is doing at this moment, made of its events: the phases that run, their hosts, and what they wait for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from provisioner.model.events import Event

_NAMED = 4      # hosts named before the rest is counted


@dataclass
class Running:
    """A phase that has begun and not ended."""

    name: str
    doc: str
    since: float
    hosts: int                  # how many have work in it, as far as that was told
    working: dict[str, None] = field(default_factory=dict)     # in the order in which they began
    done: set[str] = field(default_factory=set)
    waits: dict[str, str] = field(default_factory=dict)     # host, or "" for the cluster -> what for, the newest last

    def take(self, event: Event) -> None:
        """Take an event of this phase."""
        if event.type == "host-start":
            self.working[event.host] = None
            self.done.discard(event.host)
        elif event.type == "host-done":
            self.done.add(event.host)
            self.working.pop(event.host, None)
            self.waits.pop(event.host, None)
            if not self.working:
                self.waits.pop("", None)        # what all of them waited for
        elif event.type == "waiting":
            self.waits.pop(event.host, None)
            self.waits[event.host] = event.message
        elif event.type == "gate":
            self.waits.pop(event.host, None)

    def status(self, now: float) -> str:
        """Return it in one line without its mark: seconds, hosts done, and what it waits for."""
        hosts = max(self.hosts, len(self.done) + len(self.working))
        count = f"{len(self.done)}/{hosts} hosts  " if hosts else ""
        return f"{self.name:<15}{now - self.since:>5.0f}s   {count}{self.goes_on}".rstrip()

    @property
    def goes_on(self) -> str:
        """Return what is waited for, or who is worked on; the newest word first."""
        working = names(list(self.working))
        if self.waits:
            host, message = next(reversed(self.waits.items()))
            who = host or working
            return f"{who}: {message}" if who else message
        if working:
            return f"{working}: being changed"
        return "being proved" if self.done else self.doc


class Progress:
    """Takes every event of a run; `running` says what goes on, `pending` which phases are still to come."""

    def __init__(self) -> None:
        self._phases: list[str] = []
        self._running: dict[str, Running] = {}

    def take(self, event: Event, now: float) -> None:
        """Take one event at `now`, seconds by a clock that `Running.status` is asked by too."""
        if event.type == "run-start":
            self._phases = list((event.data or {}).get("phases", ()))
        elif event.type == "phase-start":
            self._phases = [name for name in self._phases if name != event.phase]
            self._running[event.phase] = Running(
                event.phase, event.message, now, int((event.data or {}).get("hosts", 0)))
        elif event.type == "phase-done":
            self._running.pop(event.phase, None)
        elif event.type == "run-end":
            self._running.clear()
        elif self._running:         # what names no phase is of the one that began last
            self._running.get(event.phase, next(reversed(self._running.values()))).take(event)

    @property
    def running(self) -> tuple[Running, ...]:
        """Return the phases that run, in the order in which they began."""
        return tuple(self._running.values())

    @property
    def pending(self) -> tuple[str, ...]:
        """Return the phases that have not begun."""
        return tuple(self._phases)


def names(hosts: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(hosts) - _NAMED
    return ", ".join(hosts[:_NAMED]) + (f" and {more} more" if more > 0 else "")
