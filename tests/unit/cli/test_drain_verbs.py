"""`node drain` and `node uncordon` as people meet them, on a cluster in memory."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.errors import Interrupted
from provisioner.operate import drain
from provisioner.orchestrate.session.live_run import LiveRun
from tests.fakes.api import MemoryKube
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, run, world

__all__ = ["built", "run", "world"]
PODS = "/api/v1/namespaces/shop/pods"
BUDGET = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web"
SET = "/apis/apps/v1/namespaces/shop/statefulsets/web"
OWNED = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "set",
                              "controller": True}]}


def pod(world: World, name: str, host: str = "w1", *, owned: bool = True, ready: bool = True) -> str:
    path = f"{PODS}/{name}"
    if owned and SET not in world.api.objects:
        wants(world, 3)
    world.api.put(path, {
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}, **(OWNED if owned else {})},
        "spec": {"nodeName": host, "containers": [], "tolerations": [{"operator": "Exists"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}})
    return path


def wants(world: World, replicas: int) -> None:
    world.api.put(SET, {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"replicas": replicas},
                        "metadata": {"name": "web", "namespace": "shop", "uid": "set"}})


def budget(world: World, allowed: int) -> None:
    world.api.put(BUDGET, {"metadata": {"name": "web", "namespace": "shop"},
                           "spec": {"selector": {"matchLabels": {"app": "web"}}},
                           "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1,
                                      "expectedPods": 1}})


def node(world: World, host: str = "w1") -> dict[str, Any]:
    return world.api.objects[f"/api/v1/nodes/{host}"]


def cordon(world: World, host: str = "w1") -> None:
    MemoryKube(world.api).merge_patch(f"/api/v1/nodes/{host}?fieldManager=kubectl", {"spec": {"unschedulable": True}})


def test_a_drained_node_is_empty_and_noted_as_ours_until_it_is_uncordoned(built: World, run: Run) -> None:
    pod(built, "a")
    shell = pod(built, "shell", owned=False)
    ended = run("node", "drain", "w1", "--yes")
    assert ended.code == 0, ended.err
    assert "ends   shop/shell  nobody makes another" in ended.err and "moves  shop/a" in ended.err
    assert ended.out.startswith("w1 is drained, in ") and ended.out.rstrip().endswith("node uncordon w1")
    assert shell not in built.api.objects and drain.is_kept(node(built))
    assert " on " in drain.note_of(node(built)) and ", run " in drain.note_of(node(built))
    again = run("node", "drain", "w1", "--yes")
    assert (again.code, again.out.splitlines()[0]) == (0, "w1 is drained already.")
    ended = run("node", "uncordon", "w1", "--yes")
    assert (ended.code, ended.out) == (0, "w1 takes Pods again.\n") and "cordoned for node drain by " in ended.err
    assert not drain.is_cordoned(node(built)) and not drain.note_of(node(built))
    assert run("node", "uncordon", "w1", "--yes").out == "w1 takes Pods already.\n"


def test_nothing_is_changed_where_nobody_can_be_asked(built: World, run: Run) -> None:
    path = pod(built, "a")
    ended = run("node", "drain", "w1")
    assert ended.code == 15 and "drain w1: nobody is there to ask" in ended.err
    assert path in built.api.objects and not drain.is_cordoned(node(built)) and built.api.log == []


def test_a_budget_that_lets_none_go_is_named_before_given_up_uncordoned_and_gone_on_with_later(
        built: World, run: Run) -> None:
    path = pod(built, "a")
    budget(built, 0)
    built.api.held.add(path)
    ended = run("node", "drain", "w1", "--timeout", "3", "--yes")
    assert ended.code == 13
    assert "budget shop/web: 0 may go: 1 of 1 Pods are healthy, and 1 must be: holds shop/a" in ended.err
    assert "error: w1: draining: 1 Pod is still there after 3 s" in ended.err
    assert "shop/a: Cannot evict pod as it would violate" in ended.err and "w1 takes Pods again" in ended.err
    assert "hint: kubectl get poddisruptionbudgets --all-namespaces, then " in ended.err
    assert "node drain w1" in ended.err.splitlines()[-2]
    assert path in built.api.objects and not drain.is_cordoned(node(built))
    built.api.held.clear()
    budget(built, 1)
    assert run("node", "drain", "w1", "--yes").code == 0
    assert path not in built.api.objects


def test_only_the_pods_of_a_named_namespace_go_against_their_budget(built: World, run: Run) -> None:
    path = pod(built, "a")
    budget(built, 0)
    built.api.held.add(path)
    assert run("node", "drain", "w1", "--force", "shopp", "--yes").code == 64
    assert path in built.api.objects and built.api.log == []
    ended = run("node", "drain", "w1", "--force", "shop", "--yes")
    assert ended.code == 0, ended.err
    assert "deleted against shop/web, as --force shop says" in ended.err
    assert ("DELETE", path) in built.api.log


def test_a_cordon_of_somebody_else_stays_after_a_drain_and_is_not_undone_by_us(built: World, run: Run) -> None:
    pod(built, "a")
    cordon(built)
    ended = run("node", "drain", "w1", "--yes")
    assert ended.code == 0 and "is cordoned by somebody else" in ended.err
    assert drain.is_cordoned(node(built)) and not drain.note_of(node(built))
    ended = run("node", "uncordon", "w1", "w2", "--yes")
    assert ended.code == 15 and "w1: cordoned by somebody else" in ended.err and "kubectl uncordon w1" in ended.err
    assert drain.is_cordoned(node(built))


@pytest.mark.parametrize("verb", ["drain", "uncordon"])
def test_a_host_that_is_no_node_is_refused(built: World, run: Run, verb: str) -> None:
    ended = run("node", verb, "w9", "--yes")
    assert ended.code == 64 and "node " + verb + " w9: not in the inventory" in ended.err
    del built.api.objects["/api/v1/nodes/w2"]
    ended = run("node", verb, "w2", "--yes")
    assert ended.code == 64 and "w2: the cluster has no such Node" in ended.err


def test_an_api_that_does_not_answer_is_said_and_nothing_is_changed(built: World, run: Run) -> None:
    built.api.refuse = 503
    ended = run("node", "drain", "w1", "--yes")
    assert ended.code == 13
    assert "Pods are moved through the API; nothing was changed" in ended.err and "hint: " in ended.err
    assert built.api.log == []


def test_what_leaves_the_first_is_ready_elsewhere_before_the_second_and_never_comes_to_it(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pod(built, "a", "w1")
    pod(built, "b", "w2")
    order: list[tuple[str, bool]] = []
    plain = built.api._evict

    def evict(path: str) -> tuple[int, dict[str, Any]]:
        order.append((path.rpartition("/")[2], drain.is_cordoned(node(built, "w2"))))
        done = plain(path)
        if path.endswith("/a"):
            pod(built, "a2", "cp1", ready=False)
        if path.endswith("/b"):
            assert f"{PODS}/a2" in built.api.objects
        return done

    looks = iter(range(100))

    def answer(method: str, url: str, body: Any) -> Any:
        asked = method == "GET" and url.startswith(f"{PODS}?limit")
        if asked and f"{PODS}/a2" in built.api.objects and next(looks) == 2:
            pod(built, "a2", "cp1")
        return real(method, url, body)

    real = built.api.answer
    monkeypatch.setattr(built.api, "_evict", evict)
    monkeypatch.setattr(built.api, "answer", answer)
    ended = run("node", "drain", "w1", "w2", "--yes")
    assert ended.code == 0, ended.err
    assert order == [("a", True), ("b", True)] and next(looks) > 2


def test_where_the_second_cannot_be_drained_the_first_stays_so_and_that_is_said(built: World, run: Run) -> None:
    pod(built, "a", "w1", owned=False)
    built.api.held.add(pod(built, "b", "w2", owned=False))
    ended = run("node", "drain", "w1", "w2", "--timeout", "3", "--yes")
    assert ended.code == 13
    assert "w2 takes Pods again" in ended.err and "drained, and left so: w1" in ended.err
    assert drain.is_kept(node(built, "w1")) and not drain.is_cordoned(node(built, "w2"))


def test_a_wish_to_stop_uncordons_and_says_what_is_left_and_what_to_type(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    built.api.held.add(pod(built, "a"))
    looks = iter(range(100))

    def asked(self: LiveRun) -> None:
        if next(looks) > 2:
            raise Interrupted("Stopped.")

    monkeypatch.setattr(LiveRun, "safe_point", asked)
    ended = run("node", "drain", "w1", "--yes")
    assert ended.code == 130
    assert "shop/a: Cannot evict pod as it would violate" in ended.err and "w1 takes Pods again" in ended.err
    assert "node drain w1" in ended.err and not drain.is_cordoned(node(built))


@pytest.mark.parametrize("kill", [SystemExit(9), KeyboardInterrupt()])
def test_a_run_that_was_killed_in_the_middle_is_ended_by_the_next(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch, kill: BaseException) -> None:
    first, second = pod(built, "a"), pod(built, "b")
    built.api.held.add(second)

    def dies(self: LiveRun) -> None:
        if first not in built.api.objects:
            raise kill

    with monkeypatch.context() as patch:
        patch.setattr(LiveRun, "safe_point", dies)
        if isinstance(kill, KeyboardInterrupt):
            ended = run("node", "drain", "w1", "--yes")
            assert ended.code == 130
            assert "w1: cordoned by this run; to undo it: kubewright" in ended.err
        else:
            with pytest.raises(SystemExit):
                run("node", "drain", "w1", "--yes")
    assert drain.is_kept(node(built)) and second in built.api.objects
    built.api.held.clear()
    built.hosts.now += 3600
    ended = run("node", "drain", "w1", "--yes")
    assert ended.code == 0, ended.err
    assert second not in built.api.objects
    assert run("node", "uncordon", "w1", "--yes").code == 0


def test_a_drain_is_begun_anew_and_not_resumed(built: World, run: Run) -> None:
    built.api.held.add(pod(built, "a"))
    assert run("node", "drain", "w1", "--timeout", "1", "--yes").code == 13
    ended = run("resume")
    assert ended.code == 64 and "node drain w1" in ended.err
