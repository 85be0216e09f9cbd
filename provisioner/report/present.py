"""The newest run in a few lines, for who looks on while it goes, or what the last one came to."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.model.characters import visible
from provisioner.model.run import DONE, RUNNING
from provisioner.report.story import OPEN, PhaseTold, Story, Turn

_SIGNS = {"ok": "✓", "failed": "✗", OPEN: "…"}


def present_lines(story: Story, now: float) -> Iterator[str]:
    """Yield the run, its phases with whom each is at, and what the prober saw; of one that ended well a line.

    What hosts said is in it, so nothing of it moves a terminal's cursor.
    """
    return (visible(line) for line in _lines(story, now))


def _lines(story: Story, now: float) -> Iterator[str]:
    who = f" by {story.origin.who} on {story.origin.machine}" if story.origin.who else ""
    goes = story.outcome == RUNNING
    seconds = now - story.began if goes else story.seconds
    word = "Run      " if goes else "Last run "
    yield f"{word}{story.id}   {story.origin.verb}{who}   {story.outcome}   {seconds:.0f}s"
    if story.outcome != DONE:
        for phase in story.phases:
            yield _phase(story, phase, now)
        if story.message:
            yield f"  {story.message}"
    if story.availability:
        yield f"Prober   {story.availability['headline']}"
    elif goes:
        yield "Prober   tells what it saw when the run ends"


def _phase(story: Story, phase: PhaseTold, now: float) -> str:
    ended = phase.status != OPEN
    seconds = phase.seconds if ended else now - story.began - phase.began
    turns = [t for t in story.turns if t.phase == phase.name and not t.gate]
    words = phase.message if ended else _turns(turns)
    return f"  {_SIGNS.get(phase.status, '·')} {phase.name:<15} {seconds:>6.1f}s  {words}".rstrip()


def _turns(turns: list[Turn]) -> str:
    """Return whose turn it is, and who had theirs."""
    now = dict.fromkeys(t.host for t in turns if t.status == OPEN)
    done = dict.fromkeys(t.host for t in turns if t.status == "ok" and t.host not in now)
    parts = [f"now {', '.join(now)}" if now else "", f"done {', '.join(done)}" if done else ""]
    return "; ".join(part for part in parts if part)
