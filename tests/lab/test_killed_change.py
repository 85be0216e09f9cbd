"""`up` killed while it changes a running cluster: a plain re-run converges, and one control plane is out at most."""

from __future__ import annotations

import itertools

import pytest

from tests.lab.conftest import Lab
from tests.lab.walk import disk
from tests.lab.walk.disk import Disk
from tests.lab.walk.record import Walk
from tests.lab.walk.standing import Standing
from tests.lab.walk.table import RUNNING, Leg
from tests.lab.walk.walking import Row, again, converged, kill, left, told

pytestmark = [pytest.mark.lab, pytest.mark.changes("walk"), pytest.mark.bears_changes, pytest.mark.timeout(900)]
LEGS = {leg.phase: leg for leg in RUNNING}
POINTS = [(leg, moment) for leg in RUNNING for moment in leg.moments]
NUMBERS = itertools.count()     # no change is made twice


def name(leg: Leg, moment: str) -> str:
    return f"running cluster, {leg.phase}, {moment}"


WALK = Walk("kill_walk.json", [name(leg, moment) for leg, moment in POINTS])


def walk(lab: Lab, *points: tuple[Leg, str]) -> list[Row]:
    """Make a change for each point, kill one `up` at each, and let one more run to its end; return a row a point.

    The points are in the order of the phases: each next run gets past the last kill.
    """
    for leg, moment in points:
        change = leg.wide if moment == "inside" and leg.wide else leg.change
        assert change is not None
        change(lab, leg.host, next(NUMBERS))
    before = [look(lab, leg) for leg, _ in points]
    with Standing(lab) as standing:
        struck = [kill(lab, leg, moment, alone=leg.is_alone(moment)) for leg, moment in points]
        rerun = again(lab)
    out, which = standing.most_out()
    rerun["temporary_left"] = left(lab)
    return [told(leg, moment, there) | {
        "half_written": disk.torn(was.states, there.states, look(lab, leg).states), "control_planes_out": out,
        "which": which, "looks": standing.looks, "rerun": rerun}
        for (leg, moment), was, there in zip(points, before, struck, strict=True)]


def look(lab: Lab, leg: Leg) -> Disk:
    return disk.look(lab, leg.host, artifacts=leg.phase == "stage")


def faults(row: Row) -> list[str]:
    """Return what of a row must not be."""
    rerun = row["rerun"]
    return [text for wrong, text in (
        (not converged(rerun), f"the re-run did not converge: {rerun}"),
        (row["half_written"], f"half written: {row['half_written']}"),
        (rerun["temporary_left"], f"left: {rerun['temporary_left']}"),
        (row["control_planes_out"] > 1, f"out at one time: {row['which']}")) if wrong]


def test_a_change_killed_three_times_on_its_way_is_finished_by_a_plain_rerun(cluster: Lab) -> None:
    rows = walk(cluster, (LEGS["runtime"], "before"), (LEGS["controllers"], "after"), (LEGS["node"], "inside"))
    assert {f"{row['phase']}, {row['moment']}": wrong for row in rows if (wrong := faults(row))} == {}


@pytest.mark.full
@pytest.mark.parametrize(("leg", "moment"), POINTS, ids=str)
def test_a_change_killed_at_any_point_of_any_phase_is_finished_by_a_plain_rerun(
    cluster: Lab, leg: Leg, moment: str,
) -> None:
    WALK.skip_walked(name(leg, moment))
    (row,) = walk(cluster, (leg, moment))
    WALK.keep(name(leg, moment), row, passed=not faults(row))
    assert faults(row) == []
