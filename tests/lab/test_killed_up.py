"""`up` killed while it builds, from empty nodes: a plain re-run converges."""

from __future__ import annotations

import time

import pytest

from tests.lab.conftest import Lab
from tests.lab.walk import disk
from tests.lab.walk.killing import Up
from tests.lab.walk.record import Walk
from tests.lab.walk.table import EMPTY, Leg
from tests.lab.walk.walking import again, converged, kill, left, told

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
IN_APT = 4.0        # seconds into the phase
API_SERVER = next(leg for leg in EMPTY if leg.phase == "control-plane")
# Once etcd is up a run goes phase by phase, so a build that begins with `access` has steps for `node` and `network`.
BUILDS = (EMPTY[:5], EMPTY[5:9], EMPTY[9:12], EMPTY[12:15], EMPTY[15:])


def name(leg: Leg, moment: str) -> str:
    return f"empty nodes, {leg.phase}, {moment}"


WALK = Walk("kill_walk.json", [name(leg, moment) for leg in EMPTY for moment in leg.moments])


def test_killed_with_its_group_in_apt_and_alone_at_the_api_server_a_plain_rerun_converges(empty_lab: Lab) -> None:
    up = Up(empty_lab)
    try:
        up.wait_for("phase-start", "prepare")
        time.sleep(IN_APT)
        assert up.process.poll() is None, "`up` ended before it was killed"
    finally:
        up.kill()
    leg = API_SERVER
    struck = kill(empty_lab, leg, "inside", alone=True)
    row = again(empty_lab)
    assert converged(row), row
    assert disk.torn({}, struck.states, disk.look(empty_lab, leg.host).states) == []
    assert left(empty_lab) == []


@pytest.mark.full
@pytest.mark.parametrize("legs", BUILDS, ids=lambda legs: f"{legs[0]}-to-{legs[-1]}")
def test_killed_before_inside_and_after_each_phase_of_its_first_run_a_plain_rerun_converges(
    empty_lab: Lab, legs: tuple[Leg, ...],
) -> None:
    """Many kills in one build: each next run gets past the last kill, and the last run to the end."""
    points = [(leg, moment) for leg in legs for moment in leg.moments]
    WALK.skip_walked(*(name(leg, moment) for leg, moment in points))
    empty_lab.reset()
    struck = [kill(empty_lab, leg, moment, alone=leg.is_alone(moment)) for leg, moment in points]
    rerun = again(empty_lab)
    rerun["temporary_left"] = left(empty_lab)
    torn: dict[str, list[str]] = {}
    for (leg, moment), there in zip(points, struck, strict=True):
        after = disk.look(empty_lab, leg.host, artifacts=leg.phase == "stage").states
        point, half = name(leg, moment), disk.torn({}, there.states, after)
        row = told(leg, moment, there) | {"half_written": half, "rerun": rerun if (leg, moment) == points[-1] else (
            "got past this point and was killed at the next")}
        WALK.keep(point, row, passed=converged(rerun) and not half and not rerun["temporary_left"])
        torn |= {point: half} if half else {}
    assert converged(rerun), rerun
    assert rerun["temporary_left"] == []
    assert torn == {}
