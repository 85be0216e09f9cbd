"""The passes in which an upgrade's way is made, and where a run stops by itself: from every state of a trial."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.compile.versions import Version
from provisioner.decide import legs, upgrade
from provisioner.decide.legs import Ahead, Leg
from provisioner.decide.skew import ETCD, SERVER, Place, Runs, State, of
from provisioner.decide.upgrade import STAGES, Way
from tests.unit.decide.test_upgrade_way import killed_somewhere, walked
from tests.unit.decide.upgrade_fixture import CONTROL_PLANES, MINORS, NODES, RELEASES, policy_breaks, runs, versions


def ahead(state: State, to: str, *, soak: bool, finish: bool = False) -> Ahead:
    return legs.ahead(state, versions(to), soak=soak, finish=finish, minors=MINORS)


def taken(state: State, found: tuple[Leg, ...]) -> State:
    return walked(state, Way(tuple(hop for leg in found for hop in leg.hops)))


def test_a_minor_without_a_trial_is_one_pass_and_a_chain_one_each() -> None:
    [only] = ahead(runs(versions("1.36.3")), "1.37.2", soak=False).legs
    assert [hop.kubernetes for hop in only.hops] == ["1.36.3", "1.37.2"] and only.shown("").drains == NODES
    chain = ahead(runs(versions("1.35.4")), "1.37.2", soak=False)
    assert [leg.goal.kubernetes for leg in chain.of_run] == ["1.36.3", "1.37.2"] == [
        leg.goal.kubernetes for leg in chain.legs]
    assert [leg.shown("").drains for leg in chain.legs] == [(), NODES], "one drain a node, not one a minor"
    assert [bool(leg.shown("").final) for leg in chain.legs] == [False, True]
    assert [round(leg.shown("").seconds) for leg in chain.legs] == [71, 210]


def test_what_cannot_go_back_is_a_pass_of_its_own_before_a_trial_and_the_trial_ends_the_run() -> None:
    found = ahead(runs(versions("1.36.3")), "1.37.2", soak=True)
    assert [leg.shown("then").until for leg in found.legs] == ["", "then", ""]
    assert [leg.shown("then").stages for leg in found.of_run] == [("etcd",), ("control-plane", "controllers")]
    assert [bool(leg.shown("").final) for leg in found.legs] == [True, False, False]


def test_of_a_chain_each_minor_is_tried_and_finish_leads_into_the_next_trial() -> None:
    state = runs(versions("1.35.4"))
    found = ahead(state, "1.37.2", soak=True)
    assert [leg.goal.emulates for leg in found.of_run] == ["1.35"]
    state = taken(state, found.of_run)
    assert ahead(state, "1.37.2", soak=True).stands == "1.35"
    onward = ahead(state, "1.37.2", soak=True, finish=True)
    assert [(leg.goal.kubernetes, leg.goal.emulates) for leg in onward.of_run][-1] == ("1.37.2", "1.36")


@pytest.mark.parametrize("done", range(4))
def test_a_trial_half_way_is_gone_on_with_and_a_whole_one_stands(done: int) -> None:
    start = runs(versions("1.36.3", etcd="3.7.3"))
    [trial, _] = ahead(start, "1.37.2", soak=True).legs
    state = dict(start)
    for move in [m for m in upgrade.moves_of(trial.hops) if m.place.host in CONTROL_PLANES[:done]]:
        state[move.place] = move.after
    found = ahead(state, "1.37.2", soak=True)
    if done == 3:
        assert (found.stands, found.of_run, legs.on_trial(state)) == ("1.36", (), "1.36")
        assert upgrade.back(state, versions("1.36.3", etcd="3.7.3"), minors=MINORS).hops
    else:
        assert found.stands == "" and found.of_run[-1].soaks


@pytest.mark.parametrize("flipped", [1, 2, 3])
def test_once_an_api_server_behaves_as_the_new_minor_there_is_no_trial_and_no_way_back(flipped: int) -> None:
    start = runs(versions("1.36.3", etcd="3.7.3"))
    state = dict(taken(start, ahead(start, "1.37.2", soak=True).of_run))
    for host in CONTROL_PLANES[:flipped]:
        state[Place(SERVER, host)] = Runs(Version(1, 37, 2))
    assert legs.on_trial(state) == "" and ahead(state, "1.37.2", soak=True).stands == ""
    home = upgrade.back(state, versions("1.36.3", etcd="3.7.3"), minors=MINORS)
    assert "minor-downgraded" in {fault.rule for fault in home.refused}


def test_back_leaves_etcd_where_no_member_is_of_the_minor_before() -> None:
    old = versions("1.36.3")
    moved = runs(versions("1.36.3", etcd="3.7.3"))
    assert legs.before(moved, old)[ETCD] == Version(3, 7, 3)
    mixed = {**moved, Place(ETCD, "cp1"): Runs(old[ETCD])}
    assert legs.before(mixed, old)[ETCD] == old[ETCD] == legs.before(runs(old), old)[ETCD]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(RELEASES), min_size=2, max_size=2),
       st.lists(st.tuples(st.booleans(), st.booleans()), min_size=3, max_size=3), st.randoms(use_true_random=False))
def test_from_whatever_kills_leave_each_run_is_legal_and_runs_without_a_trial_end_at_the_target(
        releases: list[str], asked: list[tuple[bool, bool]], draw: random.Random) -> None:
    start, end = sorted(releases)
    state = runs(versions(start))
    for soak, finish in asked:
        found = ahead(state, end, soak=soak, finish=finish)
        assert found.refused == ()
        for leg in found.legs:
            order = [list[str](STAGES).index(stage) for stage in leg.shown("").stages]
            assert order == sorted(set(order)), "one pass over the phases"
        taken(state, found.legs)
        state = killed_somewhere(draw, state, tuple(hop for leg in found.of_run for hop in leg.hops))
        assert list(policy_breaks(state)) == []
    assert taken(state, ahead(state, end, soak=False).of_run) == runs(versions(end))


def test_a_minor_skipped_over_is_gone_by_way_of_each() -> None:
    found = ahead(runs(versions("1.33.6")), "1.37.2", soak=False)
    minors = [leg.goal.versions[SERVER].minor for leg in found.legs]
    assert all(later - earlier <= 1 for earlier, later in pairwise([33, *minors])) and minors[-1] == 37
    assert {r.version.minor for r in of(taken(runs(versions("1.33.6")), found.legs), SERVER)} == {37}
