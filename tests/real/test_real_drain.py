"""Drains against a real API server: what it refuses to evict, whose cordon it is, and what a Pod's uid is for.

No kubelet runs: Pods end at once, for they ask for no time to do so. Budgets are counted here, as no controller does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from provisioner.decide.draining import judge
from provisioner.errors import GateFailed, Interrupted, KubewrightError
from provisioner.operate import drain
from provisioner.operate import kube as kube_client
from provisioner.operate.access import Access
from provisioner.operate.kube import Kube

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(120)]
PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


@pytest.fixture
def kube(api: Access) -> Iterator[Kube]:
    made = Kube(api)
    if made.find("/api/v1/namespaces/default/serviceaccounts/default") is None:     # a controller's work
        made.request("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    for name in ("w1", "w2"):
        made.request("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"as": "a-kubelet-makes-it"}}})
    yield made
    for collection in (PODS, BUDGETS, "/api/v1/nodes"):
        made.request("DELETE", f"{collection}?gracePeriodSeconds=0")
    made.close()


def pod(kube: Kube, name: str, on: str = "w1", **labels: str) -> dict[str, Any]:
    spec = {"nodeName": on, "terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": "pause"}]}
    kube.request("POST", PODS, {"metadata": {"name": name, "labels": labels}, "spec": spec})
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return kube.merge_patch(f"{PODS}/{name}/status", {"status": ready})


def budget(kube: Kube, name: str, allowed: int = 0, **labels: str) -> None:
    made = kube.request("POST", BUDGETS, {"metadata": {"name": name}, "spec": {
        "minAvailable": 1, "selector": {"matchLabels": labels}}})
    allow(kube, name, allowed, made["metadata"]["generation"])


def allow(kube: Kube, name: str, allowed: int, generation: int = 1) -> None:
    kube.merge_patch(f"{BUDGETS}/{name}/status", {"status": {
        "disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1,
        "observedGeneration": generation}})


def node(kube: Kube, name: str = "w1") -> dict[str, Any]:
    return kube.get(f"/api/v1/nodes/{name}")


def names(kube: Kube) -> set[str]:
    return {str(p["metadata"]["name"]) for p in kube.get(PODS)["items"]}


def drained(kube: Kube, host: str, timeout: float, stay: drain.Stay = lambda progress: None, *, note: str = "true",
            forced: Collection[str] = ()) -> list[drain.Left]:
    """Cordon a Node and let its Pods leave, as a turn does: what ends that early gives it back."""
    try:
        drain.cordon(kube, host, note)
        return drain.empty(kube, host, timeout, stay, forced=forced)
    except KubewrightError as fault:
        drain.give_back(kube, [host], fault)
        raise


def test_every_pod_but_a_daemonset_s_leaves_and_the_node_is_cordoned_by_us(kube: Kube) -> None:
    for number in range(20):
        pod(kube, f"a{number}")
    pod(kube, "elsewhere", on="w2")
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "1", "controller": True}
    pod(kube, "of-set")
    kube.merge_patch(f"{PODS}/of-set", {"metadata": {"ownerReferences": [owner]}})
    left = drained(kube, "w1", 30, note="test by me")
    assert {one.name for one in left} == {f"default/a{n}" for n in range(20)}
    assert {one.how for one in left} == {"evicted"}
    assert names(kube) == {"of-set", "elsewhere"}
    assert drain.is_ours(node(kube)) and drain.note_of(node(kube)) == "test by me"


def test_what_a_budget_holds_is_given_up_after_the_timeout_and_goes_when_it_allows(kube: Kube) -> None:
    pod(kube, "held", app="db")
    pod(kube, "free")
    budget(kube, "db", app="db")
    (hold,) = judge(drain.placed(kube), "w1").holds
    assert (hold.budget, hold.pods) == ("default/db", ("default/held",))
    with pytest.raises(GateFailed, match="w1: draining: 1 Pod is still there after 1 s") as blocked:
        drained(kube, "w1", 1.0)
    assert blocked.value.exit_code == 13
    assert any(d.startswith("default/held: ") and "disruption budget" in d for d in blocked.value.details)
    assert "w1 takes Pods again" in blocked.value.details and not drain.is_cordoned(node(kube))
    assert names(kube) == {"held"}
    allow(kube, "db", 1)
    assert [one.name for one in drained(kube, "w1", 10)] == ["default/held"]


def test_a_budget_that_comes_to_allow_meanwhile_is_seen_long_before_the_time_is_up(kube: Kube) -> None:
    pod(kube, "held", app="db")
    budget(kube, "db", app="db")
    allowed: list[float] = []

    def later() -> None:
        allow(kube, "db", 1)
        allowed.append(time.monotonic())

    timer = threading.Timer(1.0, later)
    timer.start()
    drained(kube, "w1", 60)
    assert time.monotonic() - allowed[0] < 20
    timer.join()


def test_only_what_is_forced_goes_against_its_budget(kube: Kube) -> None:
    pod(kube, "forced", app="db")
    pod(kube, "held", app="db")
    budget(kube, "db", app="db")
    fates = {fate.name: fate for fate in judge(drain.placed(kube), "w1", ["default"]).pods}
    assert fates["forced"].forced and fates["held"].forced
    with pytest.raises(GateFailed, match="1 Pod is still there"):
        drained(kube, "w1", 1.0, forced=[fates["forced"].uid])
    assert names(kube) == {"held"}


def test_two_budgets_on_a_pod_hold_it_as_the_plan_says_and_force_ends_that(kube: Kube) -> None:
    pod(kube, "held", app="db")
    budget(kube, "db", 1, app="db")
    budget(kube, "db-too", 1, app="db")
    found = judge(drain.placed(kube), "w1", ["default"])
    assert [hold.budget for hold in found.holds] == ["default/db", "default/db-too"]
    with pytest.raises(GateFailed, match="1 Pod is still there"):
        drained(kube, "w1", 1.0)
    (left,) = drained(kube, "w1", 10, forced=found.forced)
    assert left.how == "deleted against its budget"


def test_the_cordon_of_somebody_else_stays(kube: Kube) -> None:
    kube.merge_patch("/api/v1/nodes/w1?fieldManager=kubectl", {"spec": {"unschedulable": True}})
    drained(kube, "w1", 5)
    assert not drain.is_ours(node(kube)) and not drain.note_of(node(kube))
    assert not drain.uncordon(kube, "w1", whatever=True)
    assert drain.is_cordoned(node(kube))


def test_a_cordon_that_somebody_undid_and_set_again_is_theirs(kube: Kube) -> None:
    drain.cordon(kube, "w1", "node drain by me")
    assert drain.is_kept(node(kube))
    for value in (False, True):
        kube.merge_patch("/api/v1/nodes/w1?fieldManager=kubectl", {"spec": {"unschedulable": value}})
    assert drain.note_of(node(kube)) and not drain.is_ours(node(kube))
    assert not drain.uncordon(kube, "w1", whatever=True)
    assert drain.is_cordoned(node(kube))


def test_a_node_that_is_kept_empty_takes_pods_again_only_when_that_is_asked(kube: Kube) -> None:
    drain.cordon(kube, "w1", "upgrade by me")
    drain.cordon(kube, "w1", "node drain by me")
    drain.cordon(kube, "w1", "upgrade by me")
    assert drain.note_of(node(kube)) == "node drain by me"
    assert not drain.uncordon(kube, "w1") and drain.is_cordoned(node(kube))
    assert drain.uncordon(kube, "w1", whatever=True) and not drain.note_of(node(kube))


def test_a_pod_of_the_same_name_that_was_made_anew_elsewhere_is_not_evicted(
        kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    old = pod(kube, "db-0")
    kube.request("DELETE", f"{PODS}/db-0?gracePeriodSeconds=0")
    new = pod(kube, "db-0", on="w2")
    answers = iter([{"items": [old]}])
    plain = Kube.get

    def stale(self: Kube, path: str, **more: Any) -> dict[str, Any]:
        return ("fieldSelector" in path and next(answers, None)) or plain(self, path, **more)

    monkeypatch.setattr(Kube, "get", stale)
    drain.empty(kube, "w1", 5)
    assert kube.get(f"{PODS}/db-0")["metadata"]["uid"] == new["metadata"]["uid"]


def test_a_wish_to_stop_says_what_is_left(kube: Kube) -> None:
    pod(kube, "held", app="db")
    pod(kube, "free")
    budget(kube, "db", app="db")

    def stop(progress: drain.Progress) -> None:
        if names(kube) == {"held"}:
            raise Interrupted("Stopped.")

    with pytest.raises(Interrupted) as stopped:
        drained(kube, "w1", 20, stop)
    assert any(d.startswith("default/held: ") for d in stopped.value.details)
    assert "w1 takes Pods again" in stopped.value.details


def test_a_collection_is_read_to_its_last_page(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_client, "PAGE", 2)
    for number in range(5):
        pod(kube, f"a{number}")
    assert len(drain.placed(kube).pods) == 5
