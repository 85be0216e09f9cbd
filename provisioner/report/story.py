"""A run's events as one value, for a report to draw and a comparison to compare; the events may end anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provisioner.model.run import DONE, FAILED, INTERRUPTED, UNFINISHED, Origin

OBJECTS = "Kubernetes objects"      # stands where a host's name would, for what is changed in the cluster
ENDED, OPEN = {"ok": DONE, "failed": FAILED, "interrupted": INTERRUPTED}, "not ended"
Told = Mapping[str, Any]
"""One event as plain values, as docs/reference/events.md describes it."""


@dataclass(frozen=True)
class Turn:
    """One host's work in a phase: changes being made, or (`gate`) their proof; times in seconds since the run began."""

    host: str
    phase: str
    began: float
    ended: float
    status: str
    gate: bool = False
    message: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True)
class Proof:
    """What one gate proved, or why it did not; `host` is empty where the cluster was asked."""

    phase: str
    host: str
    when: str                       # before or after the change
    proved: tuple[str, ...]
    status: str
    seconds: float
    ended: float
    message: str = ""


@dataclass(frozen=True)
class PhaseTold:
    """One phase; `status` is `not ended` where the events stop in it, `after` what it waited for, None if not told."""

    name: str
    doc: str
    began: float
    ended: float
    status: str
    message: str = ""
    after: tuple[str, ...] | None = None

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True)
class Made:
    """One change and what became of it; `host` is OBJECTS for what is no host's."""

    host: str
    phase: str
    kind: str
    path: str
    action: str
    reason: str
    result: str
    diff: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Return what makes it the same change in another run."""
        return self.host, self.kind, self.path, self.action


@dataclass(frozen=True)
class Note:
    """Something that was said beside the work."""

    at: float
    host: str
    message: str


@dataclass(frozen=True)
class Fault:
    """What stopped a run, beside its message: as the screen told it."""

    code: str = ""
    details: tuple[str, ...] = ()
    hint: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Fault:
        """Read it out of the end's data; empty where there is none."""
        return cls(str(told.get("code", "")), tuple(told.get("details", ())), str(told.get("hint", "")))


@dataclass(frozen=True)
class Story:
    """One run; `began` in seconds since 1970, all other times in seconds since then.

    `availability` is the data of the prober's result with its line as `headline`, empty where nothing was measured.
    """

    id: str
    origin: Origin
    cluster: str
    kubernetes: str
    began: float
    seconds: float
    outcome: str
    message: str = ""
    stopped_in: str = ""
    fault: Fault = Fault()
    not_started: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    phases: tuple[PhaseTold, ...] = ()
    turns: tuple[Turn, ...] = ()
    proofs: tuple[Proof, ...] = ()
    made: tuple[Made, ...] = ()
    notes: tuple[Note, ...] = ()
    availability: Mapping[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        """Return how many changes were made; what was found in place or stale is none."""
        return sum(one.result == "done" for one in self.made)


def story_of(run_id: str, told: Sequence[Told], *, outcome: str = "") -> Story:
    """Make the story of a run's events; `outcome` says how it stands where they have no end (default: unfinished)."""
    start: Told = next((e for e in told if e["type"] == "run-start"), {"t": told[0]["t"] if told else 0.0})
    end = next((e for e in told if e["type"] == "run-end"), None)
    began = float(start["t"])
    data, end_data = start.get("data") or {}, (end or {}).get("data") or {}
    last = float(end["t"]) if end else max((float(e["t"]) for e in told), default=began)
    reader = _Reader(began, last, told)
    turns, made = tuple(reader.turns()), tuple(reader.made())
    named = [*data.get("hosts", ()), *(t.host for t in turns), *(one.host for one in made if one.host != OBJECTS)]
    return Story(
        run_id, Origin.of(data.get("origin")), str(data.get("cluster", "")), str(data.get("kubernetes", "")), began,
        last - began, ENDED.get(str(end.get("status")), FAILED) if end else outcome or UNFINISHED,
        message=str((end or {}).get("message", "")), stopped_in=str((end or {}).get("phase", "")),
        fault=Fault.of(end_data.get("error") or {}), not_started=tuple(end_data.get("not_started", ())),
        hosts=tuple(dict.fromkeys(named)), phases=tuple(reader.phases()), turns=turns, proofs=tuple(reader.proofs()),
        made=made, notes=tuple(reader.notes()), availability=reader.availability())


class _Reader:
    """Reads one kind of thing at a time out of all events."""

    def __init__(self, began: float, last: float, told: Sequence[Told]) -> None:
        self._began, self._last = began, last - began
        self._told = [(float(e["t"]) - began, e) for e in told]

    def phases(self) -> Iterator[PhaseTold]:
        ends = [(at, e) for at, e in self._told if e["type"] == "phase-done"]
        for at, e in self._of("phase-start"):       # an upgrade comes to a phase again on each leg of its way
            later = ((then, end) for then, end in ends if then >= at and end["phase"] == e["phase"])
            ended, end = next(later, (self._last, {"status": OPEN}))
            after = (e.get("data") or {}).get("after")
            yield PhaseTold(e["phase"], str(e.get("message", "")), at, ended, str(end["status"]),
                            str(end.get("message", "")), None if after is None else tuple(after))

    def turns(self) -> Iterator[Turn]:
        """Yield the turns; one that no event ends goes on to the end of its phase."""
        begun: dict[tuple[str, str], float] = {}        # phase and host -> moment
        phase, since = "", 0.0
        for at, e in self._told:
            host = str(e.get("host", ""))
            if e["type"] == "phase-start":
                phase, since = str(e["phase"]), at
            elif e["type"] == "host-start":
                begun[str(e["phase"]), host] = at
            elif e["type"] == "host-done" and phase:
                of_phase = str(e.get("phase", phase))
                start = begun.pop((of_phase, host), since)
                yield Turn(host, of_phase, start, at, str(e["status"]), message=str(e.get("message", "")))
            elif e["type"] == "phase-done":
                left = {key: start for key, start in begun.items() if key[0] == e["phase"]}
                yield from (Turn(h, p, start, at, OPEN) for (p, h), start in left.items())
                begun = {key: start for key, start in begun.items() if key not in left}
            elif e["type"] == "gate" and host:
                yield Turn(host, str(e["phase"]), at - float(e.get("seconds", 0.0)), at, str(e["status"]), gate=True,
                           message=str(e.get("message", "")))
        yield from (Turn(h, p, start, self._last, OPEN) for (p, h), start in begun.items())

    def proofs(self) -> Iterator[Proof]:
        for at, e in self._of("gate"):
            data = e.get("data") or {}
            yield Proof(str(e["phase"]), str(e.get("host", "")), str(data.get("when", "after")),
                        tuple(data.get("proved", ())), str(e["status"]), float(e.get("seconds", 0.0)), at,
                        str(e.get("message", "")))

    def made(self) -> Iterator[Made]:
        for _, e in self._of("changed"):
            data, phase = e.get("data") or {}, str(e.get("phase", ""))
            for row in data.get("changes", ()):
                yield Made(str(e.get("host", "")), phase, row["kind"], row["path"], row["action"], row["reason"],
                           row["result"], row.get("diff", ""))
            for row in data.get("objects", ()):
                kind, _, name = str(row["identity"]).partition(" ")
                yield Made(OBJECTS, phase, kind, name, row["action"], row["reason"], row["result"],
                           row.get("diff", ""))

    def notes(self) -> Iterator[Note]:
        for at, e in self._of("diagnostic", "set-aside", "put-back"):
            yield Note(at, str(e.get("host", "")), str(e.get("message", "")))

    def availability(self) -> Mapping[str, Any]:
        found = [{**(e.get("data") or {}), "headline": str(e.get("message", "")), "status": str(e.get("status", "")),
                  "seconds": float(e.get("seconds", 0.0)), "ended": at} for at, e in self._of("availability")]
        return found[-1] if found else {}

    def _of(self, *kinds: str) -> Iterable[tuple[float, Told]]:
        return ((at, e) for at, e in self._told if e["type"] in kinds)
