"""What a run is doing at this moment, made of its events: the phase, its hosts, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.model.events import Event

_NAMED = 4      # hosts named before the rest is counted


class Progress:
    """Takes every event of a run; `status` says what goes on, `pending` which phases are still to come."""

    def __init__(self) -> None:
        self.phase = ""
        self._phases: list[str] = []
        self._doc = ""
        self._since = 0.0
        self._working: dict[str, None] = {}     # in the order in which they began
        self._hosts = 0                         # how many have work in this phase, as far as that was told
        self._done: set[str] = set()
        self._waits: dict[str, str] = {}        # host, or "" for the cluster -> what it waits for, the newest last

    def take(self, event: Event, now: float) -> None:
        """Take one event at `now`, seconds by a clock that `status` is asked by too."""
        if event.type == "run-start":
            self._phases = list((event.data or {}).get("phases", ()))
        elif event.type == "phase-start":
            self.phase, self._doc, self._since = event.phase, event.message, now
            self._hosts = int((event.data or {}).get("hosts", 0))
            self._working, self._done, self._waits = {}, set(), {}
        elif event.type == "host-start":
            self._working[event.host] = None
            self._done.discard(event.host)
        elif event.type == "host-done":
            self._done.add(event.host)
            self._working.pop(event.host, None)
            self._waits.pop(event.host, None)
            if not self._working:
                self._waits.pop("", None)       # what all of them waited for
        elif event.type == "waiting":
            self._waits.pop(event.host, None)
            self._waits[event.host] = event.message
        elif event.type == "gate":
            self._waits.pop(event.host, None)
        elif event.type in ("phase-done", "run-end"):
            self.phase = ""

    def status(self, now: float) -> str:
        """Return the running phase in one line without its mark: seconds, hosts done, and what it waits for."""
        hosts = max(self._hosts, len(self._done) + len(self._working))
        count = f"{len(self._done)}/{hosts} hosts  " if hosts else ""
        return f"{self.phase:<15}{now - self._since:>5.0f}s   {count}{self.goes_on}".rstrip()

    @property
    def pending(self) -> tuple[str, ...]:
        """Return the phases after the running one."""
        return tuple(self._phases[self._phases.index(self.phase) + 1:]) if self.phase in self._phases else ()

    @property
    def goes_on(self) -> str:
        """Return what is waited for, or who is worked on; the newest word first."""
        working = names(list(self._working))
        if self._waits:
            host, message = next(reversed(self._waits.items()))
            who = host or working
            return f"{who}: {message}" if who else message
        if working:
            return f"{working}: being changed"
        return "being proved" if self._done else self._doc


def names(hosts: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(hosts) - _NAMED
    return ", ".join(hosts[:_NAMED]) + (f" and {more} more" if more > 0 else "")
