"""`node remove`: a host that left the inventory leaves the cluster, and what the quorum does not bear is refused."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.errors import GateFailed, KubewrightError, RefusedForSafety
from provisioner.operate.kube import ApiFault
from provisioner.orchestrate.phases import membership, verify
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.perform import Performed
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import apply
from provisioner.report.plan_text import leaving_text
from tests.fakes.api import MemoryKube
from tests.fakes.session import World
from tests.unit.orchestrate.phases.test_membership_phase import NEW, PLANES, grown, leave, voters
from tests.unit.orchestrate.run.test_reset_flow import left

__all__ = ["grown"]


def remove(world: World, *hosts: str, lost: bool = False, timeout: float = 60.0) -> Performed:
    return world.perform(Intent("node remove", leaving=hosts, lost=lost, drain_timeout=timeout))


@pytest.fixture
def five(grown: World) -> World:
    """Five control planes, of which the inventory names three again."""
    grown.perform()
    leave(grown, *NEW)
    grown.forget()
    grown.hosts.joins.log.clear()
    return grown


def test_two_control_planes_leave_one_after_the_other_and_nothing_of_ours_is_left_there(five: World) -> None:
    done = remove(five, "cp4", "cp5")
    assert [verb for verb, _ in five.hosts.joins.log] == ["remove", "remove"]
    assert voters(five) == dict.fromkeys(PLANES[:3], False)
    for host in NEW:
        assert left(five, host) == [("file", "/etc/haproxy/haproxy.cfg")]      # it came with the package
        assert f"/api/v1/nodes/{host}" not in five.api.objects
        assert ("forget", host) in five.hosts.log
    text = leaving_text(done.plan, five.inventory.cluster, ("cp4", "cp5"), lost=False)
    assert "etcd: 5 voters (quorum 3, can lose 2) become 3 voters (quorum 2, can lose 1)" in text
    five.forget()
    assert not five.perform().plan.has_work


def test_the_server_ends_before_the_member_is_taken_out_and_the_leader_hands_over(
        five: World, monkeypatch: pytest.MonkeyPatch) -> None:
    five.hosts.leader = "cp4"
    seen: list[tuple[str, str]] = []
    real = membership.take_out

    def take_out(session: object, host: str) -> None:
        seen.append((host, five.hosts.leader))
        states = five.hosts.hosts[host].states
        assert not states.get(("unit", "kube-apiserver.service"), "").startswith("active")
        assert states["unit", "etcd.service"].startswith("active")
        real(session, host)  # type: ignore[arg-type]

    monkeypatch.setattr(membership, "take_out", take_out)
    remove(five, "cp4", "cp5")
    assert [host for host, _ in seen] == ["cp4", "cp5"] and seen[0][1] != "cp4"


def test_a_host_that_the_inventory_still_names_is_not_taken_out(five: World) -> None:
    with pytest.raises(RefusedForSafety, match=r"cp3: still in cluster\.yaml") as refused:
        remove(five, "cp3", "cp4", "cp5")
    assert refused.value.exit_code == 15 and five.hosts.log == []


def test_a_member_that_left_as_well_has_to_be_named(five: World) -> None:
    with pytest.raises(RefusedForSafety, match="cp5: left the inventory as well") as refused:
        remove(five, "cp4")
    assert refused.value.hint == "kubewright node remove cp4 cp5"


def test_a_host_that_nobody_knows_is_refused(five: World) -> None:
    with pytest.raises(RefusedForSafety, match="cp9: no host of this cluster"):
        remove(five, "cp9", "cp4", "cp5")


def test_what_the_quorum_does_not_bear_is_refused_before_anything_is_done(five: World) -> None:
    five.hosts.silent |= {"cp1", "cp2"}
    with pytest.raises(RefusedForSafety, match="2 of 4 voters would remain; a quorum of 4 needs 3") as refused:
        remove(five, "cp4", "cp5")
    assert refused.value.exit_code == 15
    assert not [entry for entry in five.hosts.log if entry[0] == "apply"]


def test_a_lost_host_is_taken_out_without_being_asked(five: World) -> None:
    for host in NEW:
        five.hosts.hosts[host].down = True
        five.hosts.silent.add(host)
    remove(five, "cp4", "cp5", lost=True)
    assert voters(five) == dict.fromkeys(PLANES[:3], False)
    assert not [entry for entry in five.hosts.log if entry[0] == "apply" and set(entry[2]) & set(NEW)]
    assert not {f"/api/v1/nodes/{host}" for host in NEW} & five.api.objects.keys()
    five.forget()
    assert not five.perform().plan.has_work


def test_a_worker_leaves_as_well_and_its_pods_before(grown: World) -> None:
    leave(grown, *NEW, "w2")
    pod = "/api/v1/namespaces/default/pods/a"
    grown.api.held.add(pod)
    grown.api.put(pod, {
        "metadata": {"name": "a", "namespace": "default"}, "spec": {"nodeName": "w2"}, "status": {"phase": "Running"}})
    with pytest.raises(GateFailed, match="w2: draining: 1 Pod is still there") as blocked:
        remove(grown, "w2", timeout=3.0)
    assert "disruption budget" in next(d for d in blocked.value.details if d.startswith("default/a: "))
    assert "unschedulable" not in grown.api.objects["/api/v1/nodes/w2"].get("spec", {})
    assert not [entry for entry in grown.hosts.log if entry[0] == "apply"]
    grown.api.held.clear()
    remove(grown, "w2")
    assert pod not in grown.api.objects and "/api/v1/nodes/w2" not in grown.api.objects
    assert left(grown, "w2") == [("file", "/etc/haproxy/haproxy.cfg")]


def pod_on(world: World, host: str, name: str) -> str:
    path = f"/api/v1/namespaces/default/pods/{name}"
    world.api.put(path, {"metadata": {"name": name, "namespace": "default"}, "spec": {"nodeName": host},
                         "status": {"phase": "Running"}})
    return path


def takes_pods(world: World, host: str) -> bool:
    return "unschedulable" not in world.api.objects[f"/api/v1/nodes/{host}"].get("spec", {})


def test_where_the_second_of_two_may_not_be_drained_the_first_takes_pods_again_too(grown: World) -> None:
    leave(grown, *NEW, "w1", "w2")
    pod_on(grown, "w1", "a")
    grown.api.held.add(pod_on(grown, "w2", "b"))
    with pytest.raises(GateFailed, match="w2: draining") as blocked:
        remove(grown, "w1", "w2", timeout=3.0)
    assert {"w1 takes Pods again", "w2 takes Pods again"} <= set(blocked.value.details)
    assert takes_pods(grown, "w1") and takes_pods(grown, "w2")


@pytest.mark.parametrize(("status", "times", "done"), [(0, 2, True), (500, 2, True), (503, 99, False), (403, 1, False)])
def test_an_answer_that_may_pass_is_waited_for_and_whatever_ends_a_drain_uncordons(
        grown: World, monkeypatch: pytest.MonkeyPatch, status: int, times: int, done: bool) -> None:
    leave(grown, *NEW, "w2")
    pod_on(grown, "w2", "a")
    plain = MemoryKube.request
    failed: list[str] = []

    def request(self: MemoryKube, method: str, path: str, *rest: Any, **more: Any) -> Any:
        if path.endswith("/eviction") and len(failed) < times:
            failed.append(path)
            raise ApiFault("POST eviction", "it failed", status)
        return plain(self, method, path, *rest, **more)

    monkeypatch.setattr(MemoryKube, "request", request)
    if done:
        remove(grown, "w2")
        assert "/api/v1/nodes/w2" not in grown.api.objects
        return
    with pytest.raises(KubewrightError, match=r"it failed|still there"):
        remove(grown, "w2", timeout=3.0)
    assert takes_pods(grown, "w2")


def test_up_leaves_members_alone_that_left_the_inventory_and_names_the_verb_that_may(five: World) -> None:
    with pytest.raises(RefusedForSafety, match="2 changes are refused") as refused:
        five.perform()
    assert refused.value.hint == "kubewright node remove cp4 cp5"
    assert five.hosts.log == []


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_run_that_was_killed_while_a_member_goes_is_ended_by_the_next(
        five: World, before: bool, nth: int) -> None:
    with five.hosts.joins.killed_at("remove", before=before, nth=nth):
        remove(five, "cp4", "cp5")
    remove(five, "cp4", "cp5")
    assert voters(five) == dict.fromkeys(PLANES[:3], False)
    for host in NEW:
        assert left(five, host) == [("file", "/etc/haproxy/haproxy.cfg")]
    five.forget()
    assert not five.perform().plan.has_work


@pytest.mark.parametrize("step", ["remove.servers-cp4", "remove.0.0", "remove.servers-cp5", "verify.0"])
def test_a_run_that_was_killed_at_a_step_of_a_removal_is_ended_by_the_next(
        five: World, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    real = apply.apply_batch

    def dies(session: Session, name: str, changes: apply.Changes, carry: apply.Carry = apply.by_ansible) -> None:
        if name == step:
            raise SystemExit(9)
        real(session, name, changes, carry)

    with monkeypatch.context() as patch:
        for module in (apply, verify):
            patch.setattr(module, "apply_batch", dies)
        with pytest.raises(SystemExit):
            remove(five, "cp4", "cp5")
    five.hosts.now += 3600
    remove(five, "cp4", "cp5")
    assert voters(five) == dict.fromkeys(PLANES[:3], False)
    five.forget()
    assert not five.perform().plan.has_work
