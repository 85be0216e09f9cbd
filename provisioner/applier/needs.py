"""What a unit needs: decided here and nowhere else. A step does it; check mode only tells it."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence

from . import stamps, units
from .host import Host

TOLD = {"remove": "stop and disable"}


class Need(NamedTuple):
    """The acts that bring a unit where its change wants it, in their order; none where it is there."""

    acts: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()    # inputs that differ from those it started with

    def words(self) -> str:
        """Say what would be done, and because of what; "" for nothing."""
        acts = ", ".join(TOLD.get(act, act) for act in self.acts)
        return f"{acts}: {', '.join(self.causes)}" if acts and self.causes else acts


def of_unit(host: Host, change: Mapping[str, Any], seen: units.Properties, written: Sequence[str] = ()) -> Need:
    """Decide what a unit that was seen so needs; `written` are paths that will have been written before its turn."""
    action = change["action"]
    if action == "remove":
        return Need(() if units.retired(seen) else ("remove",))
    if action == "stop":
        return Need(("stop",) if units.runs(seen) else ())
    enable = ("enable",) if units.wants_enable(seen) else ()
    if action == "enable":
        return Need(enable)
    inputs = stamps.inputs_of(host, change["path"], change)
    current, causes = stamps.compare(host, change["path"], inputs, stamps.Sums(host))
    causes += [path for path in inputs if path in written and path not in causes]
    if units.settled(seen, current and not causes) and not units.is_of(seen, change):
        return Need(enable)
    return Need((*enable, action), tuple(causes))
