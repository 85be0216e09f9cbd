"""Runs that add, remove and replace control planes, killed at twelve moments; a plain re-run ends what each began."""

from __future__ import annotations

import time

import pytest

from tests.lab import figures
from tests.lab.machines import CONTROL_PLANES, Lab
from tests.lab.moments import begins, changed, killed, proved
from tests.lab.voters import NEW, ROLES, is_empty, is_settled, removed, with_more

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(1800)]

ADDING = {
    "the new hosts get their certificates": begins("pki"),
    "a learner was added": proved("cp4 is a learner"),
    "a learner has started": proved("cp4 started"),
    "a member votes and another is to come": proved("cp4 votes"),
    "all vote and the API servers are to start": begins("control-plane"),
}
REMOVING = {
    "a host is drained": changed("Node cp4", "is drained"),
    "the others have forgotten the hosts": begins("remove"),
    "a member was taken out and its host is not empty": proved("cp4 is no member any more"),
    "the last member was taken out": proved("cp5 is no member any more"),
}
REPLACING = {
    "the dead member was taken out": proved("cp2 is no member any more"),
    "the new member has started": proved("cp2 started"),
    "the new member votes and its API server is to start": begins("control-plane"),
}


def test_runs_killed_at_twelve_moments_of_add_remove_and_replace_are_ended_by_a_plain_run(cluster: Lab) -> None:
    took = []
    with with_more(cluster, NEW, ROLES) as lab:
        for what, comes in ADDING.items():
            killed(lab, what, comes, "up", "--yes", seconds=400)
        took.append(again(lab, "up", "--yes"))
        is_settled(lab, (*CONTROL_PLANES, *NEW))

        removed(lab, *NEW)
        for what, comes in REMOVING.items():
            killed(lab, what, comes, "node", "remove", *NEW, "--yes", seconds=400)
        took.append(again(lab, "node", "remove", *NEW, "--yes"))
        is_settled(lab, CONTROL_PLANES)
        for host in NEW:
            is_empty(lab, host)

    cluster.run("lab", "reset", "cp2")
    for what, comes in REPLACING.items():
        killed(cluster, what, comes, "node", "replace", "cp2", "--yes", seconds=400)
    took.append(again(cluster, "node", "replace", "cp2", "--yes"))
    is_settled(cluster, CONTROL_PLANES)
    figures.record("the run after kills of add, remove and replace", took, unit="s",
                   kills=len({**ADDING, **REMOVING, **REPLACING}))


def again(lab: Lab, *verb: str) -> float:
    began = time.time()
    lab.run(*verb)
    return time.time() - began
