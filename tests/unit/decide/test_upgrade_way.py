"""The way of an upgrade: over all pairs of eight releases, and from every state that a kill can leave."""

from __future__ import annotations

import random
from itertools import pairwise, product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.cli import upgrade as cli
from provisioner.compile.versions import Version
from provisioner.decide.skew import PLANNED, Fault, Place, Runs, State, faults, laid_out, pinned
from provisioner.decide.upgrade import STAGES, Hop, Way, back, instants, lock_of, moves_of, plan
from provisioner.errors import RefusedForSafety
from provisioner.model import releases
from provisioner.model.phases import PHASES
from tests.unit.compile.compile_fixture import inventory, lock, lock_beside
from tests.unit.decide.upgrade_fixture import (
    CONTROL_PLANES,
    HOSTS,
    KUBERNETES,
    MINORS,
    NODES,
    RELEASES,
    policy_breaks,
    runs,
    versions,
)


def walked(state: State, way: Way) -> State:
    """Return the state at the end of a way, having judged every instant of it twice."""
    assert way.refused == ()
    for hop in way.hops:
        for now, broken in instants(state, hop, MINORS):
            assert broken == []
            assert list(policy_breaks(now)) == []
            state = now
    return state


def minor(release: str) -> int:
    return Version.parse(release).minor


@pytest.mark.parametrize(("before", "after"), list(product(RELEASES, repeat=2)))
def test_every_pair_of_releases_has_a_legal_way_or_is_refused_by_its_rule(before: str, after: str) -> None:
    state, target = runs(versions(before)), versions(after)
    way = plan(state, target, leader="cp2", minors=MINORS)
    if Version.parse(after) < Version.parse(before):
        rule = "minor-downgraded" if minor(after) < minor(before) else "patch-downgraded"
        assert {fault.rule for fault in way.refused} >= {rule}
        assert way.hops == ()
        assert all(str(fault).startswith(fault.rule) and fault.source for fault in way.refused)
        return
    assert walked(state, way) == runs(target)
    kubernetes = [minor(before), *(minor(hop.kubernetes) for hop in way.hops)]
    assert all(later - earlier <= 1 for earlier, later in pairwise(kubernetes))
    once = len([hop for hop in way.hops if hop.drains])
    assert once == (0 if minor(before) == minor(after) else 1 if minor(after) - minor(before) <= 3 else 2)


# component of the request -> what forbids it to be so much newer or older than all others, by the published policies.
def forbidden(component: str, others: str, asked: str) -> str:
    ahead = minor(asked) - minor(others)
    if ahead < 0 or Version.parse(asked) < Version.parse(others):
        return "minor-downgraded" if ahead < 0 else "patch-downgraded"
    if component == "kube-apiserver":
        return "controller-skew" if ahead > 1 else ""
    if component == "kubectl":
        return "kubectl-skew" if ahead > 1 else ""
    rule = {"kubelet": "kubelet-skew", "kube-proxy": "proxy-skew"}.get(component, "controller-skew")
    return rule if ahead > 0 else ""


@pytest.mark.parametrize("component", KUBERNETES)
def test_each_component_alone_goes_where_it_may_and_is_refused_by_name_elsewhere(component: str) -> None:
    for before, after in product(RELEASES, repeat=2):
        state = runs(versions(before))
        target = versions(before) | {component: Version.parse(after)}
        if component == "kube-apiserver" and minor(after) >= 36:
            continue        # its etcd has to move with it, which is another rule's
        way, rule = plan(state, target, minors=MINORS), forbidden(component, before, after)
        assert ([f.rule for f in way.refused][:1] == [rule]) if rule else walked(state, way) == runs(target), (
            before, after, way.refused)


ETCD = ("3.5.31", "3.5.35", "3.6.10", "3.6.14", "3.6.16", "3.7.1", "3.7.3", "3.8.0")


@pytest.mark.parametrize(("before", "after"), list(product(ETCD, repeat=2)))
def test_every_pair_of_etcds_goes_by_minors_with_the_patch_first_or_is_refused(before: str, after: str) -> None:
    state, target = runs(versions("1.36.3", etcd=before)), versions("1.36.3", etcd=after)
    lines = {f"9.{name}": MINORS[name] for name in ("1.33", "1.34", "1.37")}        # which etcds there are
    way = plan(state, target, leader="cp1", minors=lines)
    old, new = Version.parse(before), Version.parse(after)
    if new < old:
        assert [f.rule for f in way.refused] == ["etcd-downgraded" if new.minor < old.minor else "component-downgraded"]
        return
    assert way.refused == ()
    for hop in way.hops:
        for now, broken in instants(state, hop, lines):
            assert broken == []
            state = now
        [stage] = hop.stages
        assert (stage.name, [step.host for step in stage.steps]) == ("etcd", ["cp2", "cp3", "cp1"])
        assert bool(hop.final) is (hop.versions["etcd"].minor != old.minor)
        old = hop.versions["etcd"]
    assert old == new


def test_a_chain_drains_each_node_once_and_moves_etcd_before_the_last_minor() -> None:
    state = runs(versions("1.35.4"))
    way = plan(state, versions("1.37.2"), leader="cp1", minors=MINORS)
    assert [(hop.kubernetes, hop.nodes, str(hop.versions["etcd"])) for hop in way.hops] == [
        ("1.36.3", "1.35.4", "3.6.15"), ("1.36.3", "1.35.4", "3.7.3"), ("1.37.2", "1.37.2", "3.7.3")]
    assert [hop.drains for hop in way.hops] == [(), (), NODES]
    assert [[stage.name for stage in hop.stages] for hop in way.hops] == [
        ["control-plane", "controllers"], ["etcd"], ["control-plane", "controllers", "node"]]
    assert [bool(hop.final) for hop in way.hops] == [False, True, False]
    assert str(way.hops[0]) == ("kube-apiserver 1.35.4 → 1.36.3, kubectl 1.35.4 → 1.36.3, kube-controller-manager "
                                "1.35.4 → 1.36.3, kube-scheduler 1.35.4 → 1.36.3")


def test_no_controller_moves_before_the_last_api_server_and_no_kubelet_before_the_last_controller() -> None:
    for way in (plan(runs(versions("1.36.3")), versions("1.37.2"), minors=MINORS),):
        for hop in way.hops:
            order = [PLANNED.index(move.place.component) for move in moves_of([hop])]
            ranks = [0 if i == 0 else 1 if i < 3 else 2 if i < 5 else 3 if i < 9 else 4 for i in order]
            assert ranks == sorted(ranks)


def test_a_node_takes_runtime_kubelet_proxy_and_network_in_one_turn() -> None:
    state = runs(versions("1.36.3", flannel="0.28.4"))
    way = plan(state, versions("1.37.2"), minors=MINORS)
    [stage] = [stage for hop in way.hops for stage in hop.stages if stage.name == "node"]
    assert [step.host for step in stage.steps] == list(NODES)
    assert {tuple(move.place.component for move in step.moves) for step in stage.steps} == {
        ("containerd", "kubelet", "kube-proxy", "flannel")}
    assert all(step.drained for step in stage.steps)


def test_a_patch_drains_nobody() -> None:
    way = plan(runs(versions("1.36.1")), versions("1.36.3"), minors=MINORS)
    assert [hop.drains for hop in way.hops] == [()]
    assert [stage.name for stage in way.hops[0].stages] == ["control-plane", "controllers", "node"]


def test_what_is_there_already_needs_no_hop() -> None:
    assert plan(runs(versions("1.37.2")), versions("1.37.2"), minors=MINORS) == Way()


def test_a_minor_without_a_release_is_no_way() -> None:
    without = {name: row for name, row in MINORS.items() if name != "1.36"}
    way = plan(runs(versions("1.35.4", etcd="3.6.16")), versions("1.37.2", etcd="3.6.16"), minors=without)
    assert [fault.rule for fault in way.refused] == ["release-missing"]
    assert "through 1.36" in str(way.refused[0])


def test_what_runs_and_is_not_asked_for_is_named() -> None:
    target = versions("1.37.2")
    del target["metrics-server"]
    [fault] = plan(runs(versions("1.36.3")), target, minors=MINORS).refused
    assert fault == Fault("component-missing", "metrics-server runs, and no version of it is asked for")


def test_an_illegal_cluster_is_not_taken_further() -> None:
    state = {**runs(versions("1.35.4")), Place("kubelet", "w1"): Runs(Version(1, 36, 3))}
    assert [f.rule for f in plan(state, versions("1.36.3"), minors=MINORS).refused] == ["kubelet-skew"]


def test_a_soak_changes_control_planes_alone_and_every_hop_before_its_end_can_go_back() -> None:
    state, target = runs(versions("1.36.3")), versions("1.37.2")
    way = plan(state, target, soak=True, minors=MINORS)
    assert [(hop.emulates, hop.soaks, hop.kubernetes, hop.nodes) for hop in way.hops] == [
        ("", False, "1.36.3", "1.36.3"), ("1.36", True, "1.37.2", "1.36.3"), ("", False, "1.37.2", "1.37.2")]
    assert walked(state, way) == runs(target)
    after_etcd = walked(state, Way(way.hops[:1]))
    soaking = walked(state, Way(way.hops[:2]))
    home = back(soaking, versions("1.36.3", etcd="3.7.3"), minors=MINORS)
    assert walked(soaking, home) == after_etcd
    assert [stage.name for stage in home.hops[0].stages] == ["controllers", "control-plane"]


def test_finish_is_the_first_hop_of_a_cluster_that_soaks() -> None:
    state, target = runs(versions("1.36.3")), versions("1.37.2")
    soaking = walked(state, Way(plan(state, target, soak=True, minors=MINORS).hops[:2]))
    for soak in (True, False):
        [hop] = plan(soaking, target, soak=soak, minors=MINORS).hops
        assert not hop.soaks
        assert [stage.name for stage in hop.stages] == ["control-plane", "controllers", "node"]


def test_what_acts_as_the_new_minor_does_not_go_back() -> None:
    state, target = runs(versions("1.36.3", etcd="3.7.3")), versions("1.37.2")
    done = walked(state, plan(state, target, minors=MINORS))
    assert "minor-downgraded" in {f.rule for f in back(done, versions("1.36.3", etcd="3.7.3"), minors=MINORS).refused}


def test_etcd_goes_back_until_its_last_member_has_moved() -> None:
    old, new = Runs(Version(3, 6, 16)), Runs(Version(3, 7, 3))
    state = dict(runs(versions("1.36.3")))
    for moved in (1, 2, 3):
        for number, host in enumerate(CONTROL_PLANES):
            state[Place("etcd", host)] = new if number < moved else old
        way = back(state, versions("1.36.3"), leader="cp3", minors=MINORS)
        if moved == 3:
            assert [f.rule for f in way.refused] == ["etcd-downgraded"]
        else:
            assert walked(state, way) == runs(versions("1.36.3"))


def killed_somewhere(draw: random.Random, state: State, hops: tuple[Hop, ...]) -> State:
    """Return the state after some of the moves; nodes of a batch may be anywhere in their own."""
    everything = list(moves_of(hops))
    cut = draw.randint(0, len(everything))
    now = dict(state)
    for move in everything[:cut]:
        now[move.place] = move.after
    if cut < len(everything) and everything[cut].place.component in ("containerd", "kubelet", "kube-proxy", "flannel"):
        for host in NODES:                  # a batch: several nodes at once
            own = [m for m in everything[cut:] if m.place.host == host and m.place.component in HOSTS
                   and len(HOSTS[m.place.component]) == len(NODES)]
            for move in own[:draw.randint(0, len(own))]:
                if faults({**now, move.place: move.after}, MINORS):
                    break
                now[move.place] = move.after
    return now


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(RELEASES), min_size=3, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3),
       st.sampled_from(CONTROL_PLANES), st.randoms(use_true_random=False))
def test_from_whatever_kills_leave_the_next_plan_is_legal_and_ends_at_the_target(
        releases: list[str], soaks: list[bool], leader: str, draw: random.Random) -> None:
    start, middle, end = sorted(releases)
    state = runs(versions(start))
    for goal, soak in zip((middle, end, end), soaks, strict=True):      # the target may move on between kills
        way = plan(state, versions(goal), leader=leader, soak=soak, minors=MINORS)
        walked(state, way)
        state = killed_somewhere(draw, state, way.hops)
        assert list(policy_breaks(state)) == []
    target = versions(end)
    assert walked(state, plan(state, target, leader=leader, minors=MINORS)) == runs(target)

@pytest.mark.parametrize(("before", "after"), list(pairwise(releases.RELEASES)))
def test_between_releases_that_can_be_had_one_run_in_the_order_of_the_stages_is_the_whole_way(
        before: str, after: str) -> None:
    """`upgrade` walks no hops: each component of a host moves once, after all of the stages before its own."""
    state = laid_out(inventory(), lock_beside(before))
    way = plan(state, pinned(lock_beside(after)), leader="cp2")
    assert way.refused == () and way.hops
    stages = [list(STAGES).index(stage.name) for hop in way.hops for stage in hop.stages]
    assert stages == sorted(set(stages))
    places = [move.place for move in moves_of(way.hops)]
    assert len(places) == len(set(places))


def test_the_verb_can_stop_behind_every_stage_and_each_is_a_phase() -> None:
    assert tuple(STAGES) == cli.STAGES == tuple(phase for phase in PHASES if phase in STAGES)


def test_the_lock_of_a_hop_has_each_file_at_the_version_that_the_hop_gives_it() -> None:
    kubernetes, tools = "1.37.2", {"containerd": "2.4.2", "crictl": "1.37.0"}
    applied = lock(kubernetes="1.35.4", containerd="2.3.7", **{"cri-tools": "1.34.0"})
    final = lock(kubernetes=kubernetes, etcd="3.7.3", containerd=tools["containerd"])
    between = lock(kubernetes="1.36.3").artifacts
    way = plan(laid_out(inventory(), applied), pinned(final), minors=MINORS)
    locks = [lock_of(hop, final=final, applied=applied, known=between) for hop in way.hops]
    assert [{pinned_in.get(name) for name in ("kube-apiserver", "kubelet", "etcd", "containerd")} for pinned_in in (
        {a.name: a.version for a in of_hop.artifacts} for of_hop in locks)] == [
        {"1.36.3", "1.35.4", "3.6.16", "2.3.7"}, {"1.36.3", "1.35.4", "3.7.3", "2.3.7"}, {"1.37.2", "3.7.3", "2.4.2"}]
    assert [of_hop.get("crictl", "amd64").version for of_hop in locks] == ["1.34.0", "1.34.0", "1.37.0"]
    assert locks[-1] == final
    with pytest.raises(RefusedForSafety) as refusal:
        lock_of(way.hops[0], final=final, applied=applied, known=())
    assert "kube-apiserver 1.36.3 for amd64" in refusal.value.details
