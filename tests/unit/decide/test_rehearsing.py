"""A roll on paper: Nodes drained one after the other, each taking Pods again before the next."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from provisioner.decide import room
from provisioner.decide.rehearsing import rehearse
from provisioner.model.draining import ENDS
from tests.unit.decide.placed_cases import placed


def replica(name: str, on: str, cpu: str = "100m", memory: str = "64Mi", owner: str = "web") -> dict[str, Any]:
    asked = {"requests": {"cpu": cpu, "memory": memory}}
    return {"at": on, "spec": {"containers": [{"name": "main", "resources": asked}]},
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": owner, "pod-template-hash": "h"},
                         "ownerReferences": [{"kind": "ReplicaSet", "name": f"{owner}-h", "uid": owner,
                                              "controller": True}]}}


def nodes(*names: str, cpu: str = "1", memory: str = "1Gi", pods: str = "10") -> list[dict[str, Any]]:
    return [{"name": name, "allocatable": {"cpu": cpu, "memory": memory, "pods": pods}} for name in names]


def test_what_left_the_first_node_is_where_it_was_placed_when_the_second_is_drained() -> None:
    case = {"nodes": nodes("w1", "w2", "w3"), "pods": [replica("a", "w1"), replica("b", "w2", cpu="700m")]}
    first, second, third = rehearse(placed(case), [["w1"], ["w2"], ["w3"]])
    assert [p.name for p in first.drain.leaving] == ["a"]
    assert [p.name for p in second.drain.leaving] == ["b"]
    assert [p.name for p in third.drain.leaving] == ["a"], "the roomiest of the others was w3"
    assert not any(step.no_room for step in (first, second, third))


@pytest.mark.parametrize(("cpu", "memory", "pods", "why"), [
    ("600m", "1Mi", "10", "it asks for 0.6 cpu"), ("1m", "600Mi", "10", "it asks for 600Mi memory"),
    ("1m", "1Mi", "1", "it asks for 1 pods")])
def test_a_pod_for_which_the_rest_has_no_room_is_named_with_what_is_too_little(
        cpu: str, memory: str, pods: str, why: str) -> None:
    case = {"nodes": nodes("w1", "w2", pods=pods),
            "pods": [replica("a", "w1", cpu, memory), replica("b", "w2", cpu, memory)]}
    first, second = rehearse(placed(case), [["w1"], ["w2"]])
    assert first.no_room == (f"shop/a: no other node has room: {why}",)
    assert second.no_room == (f"shop/b: no other node has room: {why}",), "and it is back when w1 is"


def test_the_largest_find_their_place_first() -> None:
    case = {"nodes": nodes("w1", "w2", "w3"), "pods": [
        replica("small", "w1", "300m"), replica("large", "w1", "900m"), replica("c", "w2", "700m")]}
    (step,) = rehearse(placed(case), [["w1"]])
    assert step.no_room == ()


def test_the_hosts_of_a_turn_take_nothing_from_one_another() -> None:
    case = {"nodes": nodes("w1", "w2", "w3"), "pods": [replica("a", "w1", "600m"), replica("b", "w2", "600m")]}
    first, second = rehearse(placed(case), [["w1", "w2"]])
    assert {*first.no_room, *second.no_room} == {"shop/b: no other node has room: it asks for 0.6 cpu"}
    apart = rehearse(placed(case), [["w1"], ["w2"]])
    assert not any(step.no_room for step in apart)


def test_a_single_replica_is_named_and_what_nobody_makes_again_is_gone_for_the_next() -> None:
    alone = {"at": "w1", "metadata": {"name": "shell", "namespace": "shop"}}
    case = {"nodes": nodes("w1", "w2"), "pods": [replica("a", "w1"), alone]}
    first, second = rehearse(placed(case), [["w1"], ["w2"]])
    assert first.single == ("Deployment web in shop",)
    assert [p.name for p in second.drain.leaving] == ["a"]
    assert {p.full_name: p.why for p in first.drain.leaving if p.fate == ENDS} == {
        "shop/shell": "nobody makes another: it has no controller"}
    assert second.single == ("Deployment web in shop",), "the same Pod, where the first drain has placed it"


def test_a_budget_that_would_hold_is_told_for_the_node_where_its_pods_are() -> None:
    budget = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"selector": {"matchLabels": {"app": "web"}}},
              "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}}
    case = {"nodes": nodes("w1", "w2"), "pods": [replica("a", "w1")], "budgets": [budget]}
    first, second = rehearse(placed(case), [["w1"], ["w2"]])
    assert [h.budget for h in first.drain.holds] == ["shop/web"] and first.drain.holds[0].never
    assert [h.pods for h in second.drain.holds] == [("shop/a",)]


def test_a_host_without_a_node_is_left_out() -> None:
    case = {"nodes": nodes("w1", "w2"), "pods": []}
    assert [step.drain.host for step in rehearse(placed(case), [["w1"], ["lb1"], ["w2"]])] == ["w1", "w2"]


@pytest.mark.parametrize(("text", "value"), [
    ("100m", Fraction(1, 10)), ("2", Fraction(2)), ("1.5", Fraction(3, 2)), (".5", Fraction(1, 2)),
    ("1Ki", Fraction(1024)), ("1k", Fraction(1000)), ("1.5Gi", Fraction(3 * 2**29)), ("2e3", Fraction(2000)),
    ("1E3", Fraction(1000)), ("1E", Fraction(10**18)), ("1Ei", Fraction(2**60)), ("500u", Fraction(1, 2000)),
    ("10n", Fraction(1, 10**8)), (3, Fraction(3))])
def test_quantities_are_read_as_the_api_writes_them(text: object, value: Fraction) -> None:
    assert room.quantity(text) == value


@pytest.mark.parametrize("text", ["", "1 Gi", "1kb", "m", "1KI", "--1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        room.quantity(text)


def asks(**more: str) -> dict[str, Any]:
    return {"resources": {"requests": more}}


@pytest.mark.parametrize(("spec", "cpu"), [
    ({"containers": [asks(cpu="1"), asks(cpu="2"), {}]}, "3"),
    ({"containers": [asks(cpu="1")], "initContainers": [asks(cpu="5"), asks(cpu="2")]}, "5"),
    ({"containers": [asks(cpu="1")], "initContainers": [{**asks(cpu="2"), "restartPolicy": "Always"}]}, "3"),
    ({"containers": [asks(cpu="1")],
      "initContainers": [{**asks(cpu="2"), "restartPolicy": "Always"}, asks(cpu="4")]}, "6"),
    ({"containers": [asks(cpu="1")], "overhead": {"cpu": "250m"}}, "1250m"),
    ({"containers": [asks(cpu="1")], **asks(cpu="4")}, "4"),
])
def test_a_pod_asks_for_what_the_scheduler_counts(spec: dict[str, Any], cpu: str) -> None:
    asked = room.requests({"metadata": {}, "spec": spec})
    assert asked["cpu"] == room.amount("cpu", cpu) and asked["pods"] == 1
