"""`up` killed while it builds: a plain re-run converges. First in the alphabet, since it starts from empty nodes."""

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
LEGS = {leg.phase: leg for leg in EMPTY}


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
    leg = LEGS["control-plane"]
    struck = kill(empty_lab, leg, "inside", alone=True)
    row = again(empty_lab)
    assert converged(row), row
    assert disk.torn({}, struck.states, disk.look(empty_lab, leg.host).states) == []
    assert left(empty_lab) == []


@pytest.mark.full
@pytest.mark.parametrize("leg", EMPTY, ids=str)
def test_killed_before_inside_and_after_a_phase_of_its_first_run_a_plain_rerun_converges(
    empty_lab: Lab, leg: Leg,
) -> None:
    """Three kills in one build: each next run gets past the last kill, and the last run to the end."""
    WALK.skip_walked(*(name(leg, moment) for moment in leg.moments))
    empty_lab.reset()
    struck = {moment: kill(empty_lab, leg, moment, alone=leg.is_alone(moment)) for moment in leg.moments}
    rerun = again(empty_lab)
    rerun["temporary_left"] = left(empty_lab)
    after = disk.look(empty_lab, leg.host, artifacts=leg.phase == "stage").states
    torn = {moment: disk.torn({}, struck[moment].states, after) for moment in leg.moments}
    for moment in leg.moments:
        last = moment == leg.moments[-1]
        row = told(leg, moment, struck[moment]) | {
            "half_written": torn[moment], "rerun": rerun if last else "got past this point and was killed at the next"}
        WALK.keep(name(leg, moment), row, passed=converged(rerun) and not torn[moment])
    assert converged(rerun), rerun
    assert rerun["temporary_left"] == []
    assert torn == {moment: [] for moment in leg.moments}
