"""What the prober saw over time, as curves in the frame of the whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 1000.0, 40.0        # units of a curve's drawing, which is stretched to the room there is
_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_TICKS = 6


@dataclass(frozen=True)
class Mark:
    """A stretch of time in a curve: from `x`, `width` wide."""

    x: float
    width: float
    title: str


@dataclass(frozen=True)
class CurveDrawn:
    """One series: its slowest answers as a line, the slices with failures, and the longest gap."""

    name: str
    points: str
    failures: tuple[Mark, ...]
    gap: Mark | None
    slowest_ms: int         # the height of the drawing
    words: str


@dataclass(frozen=True)
class Graph:
    """All series of a run, each in the frame of the whole run."""

    width: float
    height: float
    curves: tuple[CurveDrawn, ...]


def ticks(seconds: float) -> list[tuple[float, str]]:
    """Return where an axis of so many seconds is marked, in percent, and what stands there."""
    step = next((s for s in _STEPS if seconds / s <= _TICKS), _STEPS[-1] * max(1, round(seconds / _STEPS[-1] / _TICKS)))
    count = int(seconds // step) if seconds else 0
    return [(round(n * step / seconds * 100, 3), _clock(n * step)) for n in range(count + 1)] if seconds else []


def _clock(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02}" if seconds >= 60 else f"{seconds} s"


def graph_of(seen: Mapping[str, Any], run_began: float, run_seconds: float) -> Graph:
    """Draw the prober's result in the frame of a run; nothing where it was not measured over time."""
    timeline = seen.get("timeline") or {}
    frame = _Frame(float(seen.get("began", run_began)) - run_began, float(timeline.get("seconds", 1.0)),
                   run_seconds or 1.0)
    series = seen.get("series", ())
    curves = (_curve(frame, name, curve, [s for s in series if s["series"] == name])
              for name, curve in (timeline.get("curves") or {}).items())
    return Graph(WIDTH, HEIGHT, tuple(curves))


@dataclass(frozen=True)
class _Frame:
    """Turns moments into places: the prober began `offset` seconds after the run, its slices are `slice` long."""

    offset: float
    slice: float
    seconds: float

    def x(self, at: float) -> float:
        return round(min(max((self.offset + at) / self.seconds, 0.0), 1.0) * WIDTH, 1)


def _curve(frame: _Frame, name: str, curve: Mapping[str, Sequence[int]], hosts: Sequence[Mapping[str, Any]],
           ) -> CurveDrawn:
    slowest, failures, attempts = curve["slowest_ms"], curve["failures"], curve["attempts"]
    top = max([*slowest, 1])
    points = " ".join(f"{frame.x((n + 0.5) * frame.slice)},{round(HEIGHT - ms / top * (HEIGHT - 2), 1)}"
                      for n, ms in enumerate(slowest) if attempts[n] > failures[n])
    width = max(frame.x(frame.slice) - frame.x(0.0), 2.0)
    bad = tuple(Mark(frame.x(n * frame.slice), width, f"{count} of {attempts[n]} failed at {n * frame.slice:g} s")
                for n, count in enumerate(failures) if count)
    words = f"{name}: {sum(attempts)} attempts, {sum(failures)} failed, slowest answer {top} ms"
    return CurveDrawn(name, points, bad, _gap(frame, hosts), top, words)


def _gap(frame: _Frame, hosts: Sequence[Mapping[str, Any]]) -> Mark | None:
    worst = max(hosts, key=lambda s: int(s["gap_ms"]), default=None)
    if worst is None or "gap_at" not in worst or not worst["gap_ms"]:
        return None
    x, end = frame.x(float(worst["gap_at"])), frame.x(float(worst["gap_at"]) + int(worst["gap_ms"]) / 1000)
    return Mark(x, max(end - x, 2.0), f"longest gap {worst['gap_ms']} ms, seen from {worst['host']}")
