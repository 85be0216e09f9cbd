"""What becomes of Pods when the Nodes of a plan are drained, in its order: told with the plan, before all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from provisioner.model.draining import ENDS, WAITS, Rehearsed
from provisioner.model.guards import DRAINED
from provisioner.model.plan import NOTED, Plan, Verdict
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import draining
from provisioner.report.drain_text import hold_text


def noted(session: Session, found: Plan) -> Plan:
    """Return the plan with its drains, and with what holds them up or is away meanwhile; reads only."""
    roll = [turn.hosts for stage in found.stages for turn in stage.turns if DRAINED in turn.guards]
    if not roll:
        return found
    rehearsal = draining.rehearsed(session, roll)
    return replace(found, drains=tuple(one.drain for one in rehearsal),
                   verdicts=(*found.verdicts, *_held_up(rehearsal)))


def _held_up(rehearsal: Sequence[Rehearsed]) -> Iterator[Verdict]:
    """Yield what a drain waits for, or takes away for a while, as it looks now."""
    for one in rehearsal:
        told = [f"budget {hold_text(hold)}" for hold in one.drain.holds]
        told += [f"{pod.full_name}: {pod.why}" for pod in one.drain.leaving if pod.fate in (ENDS, WAITS)]
        told += [f"{name}: its only Pod is away until another is Ready" for name in one.single]
        yield from (Verdict(f"drain of {one.drain.host}", "drain", NOTED, text) for text in (*told, *one.no_room))
