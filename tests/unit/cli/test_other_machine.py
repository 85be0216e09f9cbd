"""An address that was given away: another machine than the one that its Node was made by takes no place unasked."""

from __future__ import annotations

import re

import pytest

from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, run, world
from tests.unit.cli.test_plan_verbs import pinned

__all__ = ["built", "pinned", "run", "world"]

BEFORE = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def given_away(built: World) -> World:
    """Let w1 be a fresh machine, whose Node was made by another."""
    built.api.objects["/api/v1/nodes/w1"]["status"]["nodeInfo"]["machineID"] = BEFORE
    w1 = built.hosts.hosts["w1"]
    for things in (w1.states, w1.extras, w1.started):
        things.clear()
    return built


def test_another_machine_at_a_host_s_address_is_refused_by_what_would_change_it(given_away: World, run: Run) -> None:
    shown = run("plan")
    assert f"hosts.w1: {BEFORE} → w1w1: another machine; `up` refuses it" in shown.out
    ended = run("up", "--yes")
    assert ended.code == 15, ended.out + ended.err
    assert "w1: another machine than the one that made its Node; was its address given away?" in ended.err
    assert f"w1: machine-id w1w1, was {BEFORE}" in ended.err
    assert re.search(r"^hint: kubewright \S+ \S+ node replace w1 ", ended.err, re.MULTILINE), ended.err
    assert given_away.hosts.log == []


def test_it_takes_the_place_when_that_is_asked_for(given_away: World, run: Run) -> None:
    ended = run("node", "replace", "w1", "--yes")
    assert ended.code == 0, ended.out + ended.err
    assert given_away.hosts.hosts["w1"].states["unit", "kubelet.service"].startswith("active ")
    assert run("up", "--yes").code == 0, "its kubelet runs: from then on the Node is its own"


def test_a_machine_whose_node_was_deleted_is_nobody_s_successor(given_away: World, run: Run) -> None:
    del given_away.api.objects["/api/v1/nodes/w1"]
    assert run("up", "--yes").code == 0


def test_a_machine_id_that_was_made_anew_under_a_kubelet_that_runs_refuses_nothing(built: World, run: Run) -> None:
    built.api.objects["/api/v1/nodes/w1"]["status"]["nodeInfo"]["machineID"] = BEFORE
    assert run("up", "--yes").code == 0
