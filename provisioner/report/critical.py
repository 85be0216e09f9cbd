"""What a run waited for: the one chain of phases, hosts and proofs that made up its time, from its end backwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from provisioner.report.story import PhaseTold, Story

P = TypeVar("P", "Link", PhaseTold)
_MOMENT = 0.05      # seconds by which what begins may be told before what it waited for
_SHORT = 0.5        # seconds; shorter links are told together


@dataclass(frozen=True)
class Link:
    """A stretch of the run's time and what was waited for in it; of two links one ends where the other begins."""

    phase: str
    what: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def critical_path(story: Story) -> tuple[Link, ...]:
    """Return the chain in order of time; it covers the run from beginning to end.

    Within a phase each link is the host, or the proof, whose end the next one waited for. A phase waited for the last
    to end of those that it needs, or, where the events do not say which, of those that had ended when it began.
    """
    links: list[Link] = []
    phase, now, left = _last(story.phases, story.seconds), story.seconds, list(story.phases)
    while phase is not None:
        piece = _last([p for p in _pieces(story, phase.name) if p.began < now - _MOMENT], now)
        left = [p for p in left if p is not phase]
        before = _last(_needed(story, phase, left), now)
        if piece is None and before is None:
            break
        then = max(p.ended for p in (piece, before) if p is not None)
        links.append(Link(phase.name, "", min(then, now), now))
        now = min(then, now)
        if piece is not None and piece.ended >= then:
            links.append(Link(piece.phase, piece.what, piece.began, now))
            now = piece.began
        else:
            phase = before
    name = phase.name if phase else ""
    links.append(Link(name, "", 0.0, now))
    return tuple(link for link in reversed(links) if link.seconds > 0)


def waited_for(story: Story) -> str:
    """Return the chain in one line, its short links and what lies between hosts and proofs added up at the end."""
    links = critical_path(story)
    told = [f"{link.what} {link.seconds:.1f} s" for link in links if link.what and link.seconds >= _SHORT]
    rest = sum(link.seconds for link in links if not link.what or link.seconds < _SHORT)
    return " · ".join([*told, *([f"all else {rest:.1f} s"] if rest >= _SHORT or not told else [])])


def by_phase(story: Story) -> list[tuple[str, list[Link], float]]:
    """Return the chain as a table has it: each phase with its links and the seconds of all of them."""
    found: list[tuple[str, list[Link], float]] = []
    for link in critical_path(story):
        if not found or found[-1][0] != link.phase:
            found.append((link.phase, [], 0.0))
        name, links, seconds = found[-1]
        found[-1] = name, [*links, link] if link.what else links, seconds + link.seconds
    return found


def _needed(story: Story, phase: PhaseTold, others: Iterable[PhaseTold]) -> list[PhaseTold]:
    """Return those of `others` that a phase waited for; it may have begun before them, and waited with its proof."""
    if phase.after is not None:
        return [p for p in others if p.name in phase.after]
    earlier = story.phases[:story.phases.index(phase)]
    return [p for p in others if p in earlier and p.ended <= phase.began + _MOMENT]


def _last(pieces: Iterable[P], now: float) -> P | None:
    """Return the one that had ended last by then."""
    return max((p for p in pieces if p.ended <= now + _MOMENT), key=lambda p: p.ended, default=None)


def _pieces(story: Story, phase: str) -> Iterator[Link]:
    """Yield what a phase did host by host, and what it proved of hosts and of the cluster."""
    for turn in story.turns:
        if turn.phase == phase:
            what = f"{phase} proved on {turn.host}" if turn.gate else f"{phase} on {turn.host}"
            yield Link(phase, what, turn.began, turn.ended)
    for proof in story.proofs:
        if proof.phase == phase and not proof.host:
            words = proof.proved[0].partition("; ")[0] if proof.proved else proof.when     # the first of many
            yield Link(phase, f"{phase}: {words}", proof.ended - proof.seconds, proof.ended)
