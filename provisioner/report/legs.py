"""The way of an upgrade as people read it: its parts in order, which of them a run makes, what cannot go back."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.model.legs import LegShown


def leg_lines(legs: Sequence[LegShown]) -> list[str]:
    """Return a paragraph of each part of the way; none where nothing moves."""
    if not legs:
        return []
    lines, tried = [], False
    for number, leg in enumerate(legs, 1):
        asked = "with `upgrade --finish`: " if tried else ""
        lines.append(f"{number} of {len(legs)}: {asked}{leg.says}")
        minutes = max(1, round(leg.seconds / 60))
        lines += [f"        about {minutes} min, as turns took in a lab; what Pods take to leave comes on top"
                  ] if leg.seconds else []
        lines += [f"        drained: {', '.join(leg.drains)}"] if leg.drains else []
        lines += [f"        no way back from it: {leg.final}"] if leg.final else []
        lines += [f"        on trial, behaving as {leg.emulates}, until {leg.until.replace('T', ' ').rstrip('Z')} UTC: "
                  "`upgrade --back` goes back, `upgrade --finish` goes on"] if leg.until else []
        tried = tried or bool(leg.until)
    if len(legs) > 1:
        lines.append("What is above is the first; each other is planned when the one before it is proved")
    return [f"{'' if n else 'Way':<9}{line}" for n, line in enumerate(lines)]
