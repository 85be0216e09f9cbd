"""A turn whose Nodes are drained: empty before it, without Pods meanwhile, and given back after it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext

import pytest

from provisioner.errors import GateFailed, KubewrightError, LockHeld
from provisioner.model.draining import Placed, Rules
from provisioner.model.guards import DRAINED
from provisioner.model.plan import Turn
from provisioner.operate import drain
from provisioner.operate.kube import ApiFault, Kube
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import draining, guards
from tests.fakes.session import World
from tests.unit.cli.test_drain_verbs import SET, budget, cordon, node, pod, wants

TURN = Turn(("w1", "w2"), ("runtime", "node"), (DRAINED,))


@pytest.fixture
def session(built: World) -> Session:
    made = built.session()
    made.run.draining = Rules(timeout=3.0)
    return made


def test_the_nodes_of_a_turn_are_empty_during_it_and_take_pods_again_after_it(built: World, session: Session) -> None:
    one, other = pod(built, "a", "w1", owned=False), pod(built, "b", "w2", owned=False)
    elsewhere = pod(built, "c", "cp1")
    with guards.hold(session, TURN):
        assert not {one, other} & built.api.objects.keys() and elsewhere in built.api.objects
        assert all(drain.is_ours(node(built, host)) for host in TURN.hosts)
        assert not drain.is_kept(node(built))
    assert not any(drain.is_cordoned(node(built, host)) for host in TURN.hosts)
    rows = [row for event in built.events if event.type == "changed" for row in (event.data or {}).get("objects", ())]
    said = {row["identity"]: row["reason"] for row in rows}
    assert said["Pod shop/a"].startswith("evicted from w1 after ") and said["Pod shop/b"].startswith("evicted from w2")
    assert said["Node w2"] == "is drained: 1 Pod left"


def test_where_one_of_them_cannot_be_drained_the_turn_does_not_begin_and_all_take_pods_again(
        built: World, session: Session) -> None:
    pod(built, "a", "w1")
    built.api.held.add(pod(built, "b", "w2"))
    with pytest.raises(GateFailed, match="w2: draining") as blocked, guards.hold(session, TURN):
        pytest.fail("the turn began")
    assert {"w1 takes Pods again", "w2 takes Pods again"} <= set(blocked.value.details)
    assert not any(drain.is_cordoned(node(built, host)) for host in TURN.hosts)


def test_a_pod_that_left_while_one_look_took_longer_than_all_its_time_is_not_still_there(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may stand still; what is told at the end is seen at the end."""
    gone, late = pod(built, "a", "w1", owned=False), [100.0]
    look = drain._Leaving.look
    monkeypatch.setattr("provisioner.operate.drain.time.monotonic", lambda: late[0])
    monkeypatch.setattr("provisioner.operate.drain.time.sleep", lambda seconds: None)
    monkeypatch.setattr(drain._Leaving, "look", lambda self: (look(self), late.append(late.pop() + 10)))
    left = drain.empty(built.kube(), "w1", 3.0)
    assert [one.how for one in left] == ["evicted"] and gone not in built.api.objects


def test_what_somebody_else_cordoned_and_what_is_kept_empty_stay_so(built: World, session: Session) -> None:
    cordon(built, "w1")
    drain.cordon(built.kube(), "w2", "node drain by me")
    with guards.hold(session, TURN):
        assert not drain.is_ours(node(built, "w1")) and drain.is_kept(node(built, "w2"))
    assert drain.is_cordoned(node(built, "w1")) and drain.is_kept(node(built, "w2"))


def test_after_a_failure_only_a_node_that_is_ready_takes_pods_again(built: World, session: Session) -> None:
    with pytest.raises(KubewrightError) as failed, guards.hold(session, TURN):
        node(built, "w2")["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
        raise KubewrightError("the kubelet does not start")
    assert "w1 takes Pods again" in failed.value.details
    assert any("w2 is not Ready and stays cordoned" in line for line in failed.value.details)
    assert not drain.is_cordoned(node(built, "w1")) and drain.is_ours(node(built, "w2"))


def test_where_another_run_has_the_lock_nothing_is_undone(built: World, session: Session) -> None:
    with pytest.raises(LockHeld), guards.hold(session, TURN):
        raise LockHeld("another run")
    assert drain.is_ours(node(built, "w1"))


def test_what_is_forced_goes_against_a_budget_as_it_is_when_the_turn_comes(built: World, session: Session) -> None:
    session.run.draining = Rules(timeout=3.0, force=("shop",))
    path = pod(built, "a", "w1", owned=False)
    budget(built, 0)
    built.api.held.add(path)
    with guards.hold(session, TURN):
        assert path not in built.api.objects


def test_a_roll_is_rehearsed_from_what_the_api_shows(built: World, session: Session) -> None:
    pod(built, "a", "w1")
    first, second = draining.rehearsed(session, [["w1"], ["w2"]])
    assert [p.name for p in first.drain.leaving] == ["a"] and second.drain.host == "w2"
    assert built.api.log == []


def test_who_is_waited_for_is_told_with_what_keeps_each(built: World, session: Session) -> None:
    session.run.draining = Rules(timeout=12.0)
    for name in ("a", "b", "c", "d"):
        built.api.held.add(pod(built, name, "w1"))
    with pytest.raises(GateFailed), guards.hold(session, TURN):
        pytest.fail("the turn began")
    told = [event.message for event in built.events if event.type == "waiting"]
    assert told and told[0].startswith("w1 still has shop/a: Cannot evict pod") and told[0].endswith(" and 1 more")


@pytest.mark.parametrize("wanted", [1, 0, None], ids=["scaled down", "replaced by a newer one", "deleted"])
def test_pods_that_nobody_wants_any_more_are_not_waited_for(built: World, session: Session, wanted: int | None) -> None:
    pod(built, "a", "w1")
    pod(built, "b", "cp1")
    with guards.hold(session, Turn(("w1",), ("node",), (DRAINED,))):
        if wanted is None:
            del built.api.objects[SET]
        else:
            wants(built, wanted)


def test_pods_that_are_wanted_and_not_there_again_end_the_run(built: World, session: Session) -> None:
    pod(built, "a", "w1")
    pod(built, "b", "cp1")
    with pytest.raises(GateFailed, match="w1: drained, and what left is not Ready elsewhere after 3 s: StatefulSet web"
                       ), guards.hold(session, Turn(("w1",), ("node",), (DRAINED,))):
        pass


def test_a_second_pod_of_a_forced_namespace_goes_where_its_budget_allowed_only_the_first(
        built: World, session: Session) -> None:
    session.run.draining = Rules(timeout=3.0, force=("shop",))
    first, second = pod(built, "a", "w1", owned=False), pod(built, "b", "w1", owned=False)
    budget(built, 1)
    built.api.held.add(second)
    with guards.hold(session, TURN):
        assert not {first, second} & built.api.objects.keys()


def test_stopped_at_once_it_says_which_nodes_stay_cordoned(built: World, session: Session) -> None:
    with pytest.raises(KeyboardInterrupt), guards.hold(session, TURN):
        raise KeyboardInterrupt
    (said,) = session.run.left_behind
    assert said.startswith("w1, w2: cordoned by this run") and said.endswith("kubewright node uncordon w1 w2")
    assert drain.is_ours(node(built, "w1")) and not drain.is_kept(node(built, "w1"))


def test_nodes_that_cannot_be_given_back_are_named_with_what_to_type(built: World, session: Session) -> None:
    with pytest.raises(KubewrightError) as failed, guards.hold(session, TURN):
        built.api.refuse = 503
    assert failed.value.details[-1] == ("w1, w2: still cordoned; when the API answers: "
                                        "kubewright node uncordon w1 w2")


def bound(world: World) -> None:
    """Let a Pod of the set be on w1, and no other Node be able to run it, as with a local volume."""
    node(world)["metadata"].setdefault("labels", {})["disk"] = "fast"
    world.api.objects[pod(world, "a")]["spec"]["nodeSelector"] = {"disk": "fast"}


def test_a_pod_that_only_its_own_node_can_run_is_waited_for_when_that_takes_pods_again(
        built: World, session: Session) -> None:
    bound(built)
    drain.cordon(built.kube(), "w1", "upgrade by a run that was killed")
    node(built)["spec"]["taints"] = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    with pytest.raises(GateFailed, match="what left is not Ready elsewhere after 3 s: StatefulSet web"
                       ), guards.hold(session, TURN):
        pass
    assert not drain.is_cordoned(node(built))


def test_nobody_waits_for_it_where_its_node_stays_cordoned_by_somebody_else(built: World, session: Session) -> None:
    bound(built)
    cordon(built)
    with guards.hold(session, TURN):
        pass


@pytest.mark.parametrize(("status", "ends"), [(503, False), (403, True)])
def test_an_answer_that_may_be_another_in_a_moment_is_asked_for_again(
        built: World, session: Session, monkeypatch: pytest.MonkeyPatch, status: int, ends: bool) -> None:
    pod(built, "a", "w1")
    plain, asked = drain.pods_of, list[int]()

    def pods_of(kube: Kube, namespaces: Collection[str]) -> Placed:
        asked.append(status)
        if len(asked) == 1:
            raise ApiFault("GET pods", "no", status)
        pod(built, "a2", "cp1")
        return plain(kube, namespaces)

    monkeypatch.setattr(drain, "pods_of", pods_of)
    turn = Turn(("w1",), ("node",), (DRAINED,))
    with pytest.raises(ApiFault) if ends else nullcontext(), guards.hold(session, turn):
        pass
    assert len(asked) == (1 if ends else 2)
