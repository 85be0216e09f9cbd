"""What two runs did differently: how they ended, each phase's seconds, what only one of them changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.report.columns import in_line
from provisioner.report.impact import count, names
from provisioner.report.story import Made, PhaseTold, Story

SHOWN = 20      # kinds of change of one run that are shown before the rest is counted
_AVAILABILITY = ("attempts", "failures", "gap_ms", "cuts", "lost", "leader_changes")


@dataclass(frozen=True)
class Pair:
    """Something that both runs have, or one of them: its value in the first and in the second."""

    name: str
    first: str
    second: str

    @property
    def differs(self) -> bool:
        return self.first != self.second


@dataclass(frozen=True)
class Comparison:
    """Two runs beside each other; `only` has what one of them changed and the other did not, `results` the changes
    that both had and that became of it something else."""

    first: Story
    second: Story
    phases: tuple[tuple[str, PhaseTold | None, PhaseTold | None], ...]
    only: tuple[tuple[Made, ...], tuple[Made, ...]]
    results: tuple[tuple[Made, Made], ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, without diffs."""
        return {
            "runs": [_summary(story) for story in (self.first, self.second)],
            "phases": [{"name": name, "runs": [_phase(phase) for phase in pair]} for name, *pair in self.phases],
            "only": [[_made(one) for one in of_run] for of_run in self.only],
            "results": [{**_made(one), "result": [one.result, other.result]} for one, other in self.results]}


def compare(first: Story, second: Story) -> Comparison:
    """Hold two runs against each other; a change is the same when host, kind, path and action are."""
    phases = [dict((p.name, p) for p in story.phases) for story in (first, second)]
    made = [{one.identity: one for one in story.made} for story in (first, second)]
    only = [tuple(one for key, one in made[i].items() if key not in made[1 - i]) for i in (0, 1)]
    both = [(one, made[1][key]) for key, one in made[0].items() if key in made[1]]
    return Comparison(
        first, second, tuple((name, phases[0].get(name), phases[1].get(name)) for name in {**phases[0], **phases[1]}),
        (only[0], only[1]), tuple((a, b) for a, b in both if a.result != b.result))


def comparison_text(found: Comparison, *, whole: bool = False) -> Iterator[str]:
    """Yield the comparison as text; `whole` shows every change."""
    stories = (found.first, found.second)
    rows = [("", *(story.id for story in stories), "")]
    rows += [(pair.name, pair.first, pair.second, "" if pair.differs else "the same") for pair in _heads(*stories)]
    yield from in_line(rows)
    yield ""
    yield from in_line([("PHASE", "FIRST", "SECOND", "MORE"), *(_phase_row(*row) for row in found.phases)])
    for story, only in zip(stories, found.only, strict=True):
        if only:
            done = sum(one.result == "done" for one in only)
            rest = f", and {len(only) - done} that it did not have to make" if done < len(only) else ""
            yield f"\nonly in {story.id}: {count(done, 'change')}{rest}"
            yield from _grouped(only, whole=whole)
    if found.results:
        yield "\nthe same change with another result:"
        for one, other in found.results:
            yield f"  {one.host}  {one.kind} {one.path}: {one.result}, then {other.result}"
    if not any(found.only) and not found.results:
        yield "\nBoth made the same changes." if found.first.made else "\nNeither changed anything."


def _heads(first: Story, second: Story) -> Iterator[Pair]:
    yield Pair("outcome", _outcome(first), _outcome(second))
    yield Pair("seconds", f"{first.seconds:.1f}", f"{second.seconds:.1f}")
    yield Pair("changes", str(first.changes), str(second.changes))
    yield Pair("Kubernetes", first.kubernetes or "-", second.kubernetes or "-")
    yield Pair("hosts", str(len(first.hosts)), str(len(second.hosts)))
    if first.availability or second.availability:
        for name in _AVAILABILITY:
            yield Pair(f"prober: {name.replace('_', ' ')}",
                       *(str(story.availability.get(name, "-")) for story in (first, second)))


def _outcome(story: Story) -> str:
    return f"{story.outcome} in {story.stopped_in}" if story.stopped_in else story.outcome


def _phase_row(name: str, first: PhaseTold | None, second: PhaseTold | None) -> tuple[str, str, str, str]:
    more = round(second.seconds - first.seconds, 1) if first and second else 0.0
    return name, _cell(first), _cell(second), f"{more:+.1f} s" if more else ""


def _cell(phase: PhaseTold | None) -> str:
    if phase is None:
        return "not run"
    return f"{phase.seconds:.1f} s" + ("" if phase.status in ("ok", "nothing-to-do") else f" {phase.status}")


def _grouped(made: Sequence[Made], *, whole: bool) -> Iterator[str]:
    """Yield changes that are alike on several hosts as one line."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in made:
        alike.setdefault((one.kind, one.path, one.action), []).append(one.host)
    rows = list(alike.items())
    for (kind, path, action), hosts in rows if whole else rows[:SHOWN]:
        yield f"  {action:<8} {kind} {path}  on {names(hosts)}"
    if not whole and len(rows) > SHOWN:
        yield f"  and {len(rows) - SHOWN} more (-v shows all)"


def _summary(story: Story) -> dict[str, Any]:
    return {"id": story.id, "outcome": story.outcome, "stopped_in": story.stopped_in, "message": story.message,
            "began": story.began, "seconds": round(story.seconds, 3), "changes": story.changes,
            "kubernetes": story.kubernetes, "hosts": list(story.hosts),
            "availability": {name: story.availability.get(name) for name in _AVAILABILITY}
            if story.availability else None}


def _phase(phase: PhaseTold | None) -> dict[str, Any] | None:
    return None if phase is None else {"status": phase.status, "seconds": round(phase.seconds, 3)}


def _made(one: Made) -> dict[str, Any]:
    return {"host": one.host, "phase": one.phase, "kind": one.kind, "path": one.path, "action": one.action,
            "reason": one.reason, "result": one.result}
