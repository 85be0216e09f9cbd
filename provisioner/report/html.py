"""A run's story as one page: no script, nothing loaded from anywhere; every text is escaped on its way in."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from jinja2 import Template

from provisioner.model.run import INTERRUPTED
from provisioner.report.card import drains, sides
from provisioner.report.critical import by_phase
from provisioner.report.graph import graph_of, ticks
from provisioner.report.pages import digest, templates
from provisioner.report.story import OBJECTS, Made, PhaseTold, Proof, Story, Turn

T = TypeVar("T")
_TOUCH = 0.5    # percent of a run by which bars in one row may overlap: an end and a beginning are told one by one
_HUES = 6       # phases take turns with so many colours, so neighbours differ
_SYMBOLS = {"add": "+", "start": "+", "change": "~", "enable": "~", "remove": "-", "stop": "-", "restart": "!",
            "reload": "!"}


@dataclass(frozen=True)
class Bar:
    """A stretch of time in a row: place and width in percent of the run, what it says and what it shows on its own."""

    x: float
    width: float
    style: str
    title: str
    label: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the chart: a host, or the phases of the whole run."""

    name: str
    bars: tuple[Bar, ...]
    words: str      # the same for those who cannot see it


def report_html(story: Story, pasted: Callable[[str], str] = str) -> str:
    """Return the page; equal stories give equal pages.

    `pasted` makes the commands of details and hint such that they can be pasted where the page was asked for.
    """
    template, style = _template()
    return template.render(
        story=story, pasted=pasted,
        policy=f"default-src 'none'; style-src '{style}'; base-uri 'none'; form-action 'none'",
        when=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(story.began)), rows=_rows(story),
        ticks=ticks(story.seconds), table=_table(story), proofs=_proofs(story), made=_made(story),
        waited=by_phase(story), sides=sides(story.availability), drains=list(drains(story)),
        graph=graph_of(story.availability, story.began, story.seconds), tone=_tone(story))


@cache
def _template() -> tuple[Template, str]:
    """Return the page's template and the digest of its style; to compile them takes longer than to fill them."""
    ours = templates()
    ours.filters |= {"seconds": seconds_text, "symbol": lambda action: _SYMBOLS.get(action, "·")}
    return ours.get_template("run.html.j2"), digest(ours.get_template("run.css").render())


def seconds_text(seconds: float) -> str:
    """Return a length of time as people read it: `0.4 s`, `12 s`, `3 min 20 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _tone(story: Story) -> str:
    return {"done": "good", "running": "plain", INTERRUPTED: "warn", "unfinished": "warn"}.get(story.outcome, "bad")


def _rows(story: Story) -> list[Row]:
    hue = {phase.name: f"hue{number % _HUES}" for number, phase in enumerate(story.phases)}
    rows = _lanes("phases", [_phase_bar(story, p, hue) for p in story.phases])
    bars: dict[str, list[Bar]] = {host: [] for host in story.hosts}
    for turn in story.turns:
        bars[turn.host].append(_turn_bar(story, turn, hue))
    return [*rows, *(row for host, of_host in bars.items() for row in _lanes(host, of_host))]


def _lanes(name: str, bars: Sequence[Bar]) -> list[Row]:
    """Return one row, and more where bars lie beside one another in time: there each goes where there is room."""
    lanes: list[list[Bar]] = [[]]
    for bar in sorted(bars, key=lambda bar: bar.x):
        free = [lane for lane in lanes if not lane or lane[-1].x + lane[-1].width <= bar.x + _TOUCH]
        if not free:
            lanes.append([])
        (free or lanes[-1:])[0].append(bar)
    return [Row(name, tuple(lane), f"{name}: {'; '.join(bar.title for bar in lane) or 'nothing to do'}")
            for lane in lanes]


def _phase_bar(story: Story, phase: PhaseTold, hue: Mapping[str, str]) -> Bar:
    words = f"{phase.name}: {phase.status}, {seconds_text(phase.seconds)}"
    return _bar(story, phase.began, phase.ended, _style(hue, phase.name, phase.status), words, phase.name)


def _turn_bar(story: Story, turn: Turn, hue: Mapping[str, str]) -> Bar:
    what = f"gate of {turn.phase}" if turn.gate else turn.phase
    words = f"{what}: {turn.status}, {seconds_text(turn.seconds)}" + (f": {turn.message}" if turn.message else "")
    style = _style(hue, turn.phase, turn.status)
    return _bar(story, turn.began, turn.ended, f"{style} proof" if turn.gate else style, words)


def _style(hue: Mapping[str, str], phase: str, status: str) -> str:
    return "failed" if status in ("failed", "interrupted") else hue.get(phase, "hue0")


def _bar(story: Story, began: float, ended: float, style: str, title: str, label: str = "") -> Bar:
    total = story.seconds or 1.0
    x, end = (min(max(at / total * 100, 0.0), 100.0) for at in (began, ended))
    return Bar(round(x, 3), round(max(end - x, 0.15), 3), style, title, label)


def _table(story: Story) -> list[tuple[str, list[str]]]:
    """Return the seconds that each host spent in each phase: what the chart shows, as a table."""
    spent: dict[tuple[str, str], float] = {}
    for turn in story.turns:
        key = turn.host, turn.phase
        spent[key] = spent.get(key, 0.0) + turn.seconds
    return [(host, [f"{spent[host, p.name]:.1f}" if (host, p.name) in spent else "" for p in story.phases])
            for host in story.hosts]


def _proofs(story: Story) -> list[tuple[str, list[Proof]]]:
    """Return the gates by phase, phases and gates in the order in which they ended."""
    return list(_grouped(story.proofs, lambda proof: proof.phase).items())


def _made(story: Story) -> Iterator[tuple[str, str, list[tuple[str, list[Made]]]]]:
    """Yield what was done by host: the host, it all in a few words, and the changes by phase."""
    by_host = _grouped(story.made, lambda one: one.host)
    for host in [h for h in (*story.hosts, OBJECTS) if h in by_host]:
        done = [one for one in by_host[host] if one.result == "done"]
        kinds = Counter(_SYMBOLS.get(one.action, "·") for one in done)
        names = {"+": "added", "~": "changed", "-": "removed", "!": "restarted or reloaded"}
        counts = [f"{kinds[s]} {name}" for s, name in names.items() if kinds[s]]
        rest = len(by_host[host]) - len(done)
        words = ", ".join([*counts, *([f"{rest} not made"] if rest else [])])
        yield host, words, list(_grouped(by_host[host], lambda one: one.phase).items())


def _grouped(things: Iterable[T], name: Callable[[T], str]) -> dict[str, list[T]]:
    """Return the things by a name of theirs, names and things in their order."""
    found: dict[str, list[T]] = {}
    for one in things:
        found.setdefault(name(one), []).append(one)
    return found

