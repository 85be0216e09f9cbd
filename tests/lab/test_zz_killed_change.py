"""`up` killed while it changes a running cluster: a plain re-run converges, and one control plane is out at most.

Last in the alphabet: the inventory keeps the changes.
"""

from __future__ import annotations

import itertools

import pytest

from tests.lab.conftest import Lab
from tests.lab.walk import disk
from tests.lab.walk.record import Walk
from tests.lab.walk.standing import Standing
from tests.lab.walk.table import RUNNING, Leg
from tests.lab.walk.walking import Row, again, converged, kill, left, told

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
LEGS = {leg.phase: leg for leg in RUNNING}
POINTS = [(leg, moment) for leg in RUNNING for moment in leg.moments]
NUMBERS = itertools.count()     # no change is made twice


def name(leg: Leg, moment: str) -> str:
    return f"running cluster, {leg.phase}, {moment}"


WALK = Walk("kill_walk.json", [name(leg, moment) for leg, moment in POINTS])


def walk(lab: Lab, leg: Leg, moment: str) -> Row:
    """Walk one point and return its row."""
    change = leg.wide if moment == "inside" and leg.wide else leg.change
    assert change is not None
    change(lab, leg.host, next(NUMBERS))
    before = disk.look(lab, leg.host, artifacts=leg.phase == "stage")
    with Standing(lab) as standing:
        struck = kill(lab, leg, moment, alone=leg.is_alone(moment))
        rerun = again(lab)
    out, which = standing.most_out()
    after = disk.look(lab, leg.host, artifacts=leg.phase == "stage")
    return told(leg, moment, struck) | {
        "half_written": disk.torn(before.states, struck.states, after.states), "control_planes_out": out,
        "which": which, "looks": standing.looks, "rerun": rerun | {"temporary_left": left(lab)}}


def faults(row: Row) -> list[str]:
    """Return what of a row must not be."""
    rerun = row["rerun"]
    return [text for wrong, text in (
        (not converged(rerun), f"the re-run did not converge: {rerun}"),
        (row["half_written"], f"half written: {row['half_written']}"),
        (rerun["temporary_left"], f"left: {rerun['temporary_left']}"),
        (row["control_planes_out"] > 1, f"out at one time: {row['which']}")) if wrong]


@pytest.mark.parametrize(("phase", "moment"), [("runtime", "before"), ("node", "inside"), ("controllers", "after")])
def test_a_killed_change_is_finished_by_a_plain_rerun(cluster: Lab, phase: str, moment: str) -> None:
    assert faults(walk(cluster, LEGS[phase], moment)) == []


@pytest.mark.full
@pytest.mark.parametrize(("leg", "moment"), POINTS, ids=str)
def test_a_change_killed_at_any_point_of_any_phase_is_finished_by_a_plain_rerun(
    cluster: Lab, leg: Leg, moment: str,
) -> None:
    WALK.skip_walked(name(leg, moment))
    row = walk(cluster, leg, moment)
    WALK.keep(name(leg, moment), row, passed=not faults(row))
    assert faults(row) == []
