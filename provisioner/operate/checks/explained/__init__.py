"""What `check --explain` and the page of checks tell of each check: from the table, and a sentence or two beside it."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from provisioner.operate.checks.explained import host, network, system
from provisioner.operate.checks.explained.entry import Explained
from provisioner.operate.checks.finding import Check

TEXTS: dict[str, Explained] = {**host.TEXTS, **system.TEXTS, **network.TEXTS}


def rows(check: Check) -> Iterator[tuple[str, str]]:
    """Yield what is told of a check: a word, and a sentence for it."""
    told = TEXTS[check.name]
    yield "asks for", check.doc
    yield "how", told.how
    yield "why", told.why
    if told.limits:
        yield "limits", told.limits
    yield "fix", told.fix
    yield "up", _up(check, told)


def _up(check: Check, told: Explained) -> str:
    """Return what a run does with its findings; that is the same for all, but for what one mends by itself."""
    says = "refuses before its first write for an error, tells a warning and goes on"
    skip = "; it cannot be skipped" if check.needed else f"; `--skip {check.name}` leaves it out"
    return f"{told.up}; {says}{skip}" if told.up else says + skip


def nearest(word: str, names: list[str]) -> list[str]:
    """Return the names that one may have meant, the nearest first: by a part of it, else by its letters."""
    parts = [name for name in names if word and (word in name or name in word)]
    return list(dict.fromkeys([*get_close_matches(word, names, n=3, cutoff=0.5), *parts]))[:3]
