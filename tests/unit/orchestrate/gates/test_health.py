"""One judgement: where one of `status`, the last gate of `up` and its leave to begin finds something, so do the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from provisioner.compile.rules import CLUSTER_ILL
from provisioner.errors import GateFailed, RefusedForSafety, Unreachable
from provisioner.model.etcd import Alarm, EtcdStatus
from provisioner.model.finding import Finding
from provisioner.operate import etcd
from provisioner.operate.kube import ApiFault
from provisioner.orchestrate.gates import health
from provisioner.orchestrate.look import status
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import engine, may_begin
from provisioner.orchestrate.run.verbs import VERIFY
from provisioner.orchestrate.session.cluster_access import NobodyThere
from provisioner.orchestrate.session.session import Session
from provisioner.report.findings import lines
from provisioner.transport.faults import forwarding_fault
from provisioner.transport.pool import raise_all
from tests.fakes.api import node
from tests.fakes.session import World

KUBELET = "/var/lib/kubelet/config.yaml"
STALE = "2020-01-01T00:00:00Z"
COREDNS = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
REFUSED = "plugin type=\"calico\" failed"


def surveyed(world: World) -> Session:
    session = world.session()
    survey(session)
    return session


def with_a_restart(world: World) -> Session:
    world.hosts.hosts["w1"].edit(KUBELET, "file sha256:by-hand 0644 root:root", "by hand\n", unit="kubelet.service")
    return surveyed(world)


def two_hosts_hold_the_vip(world: World) -> None:
    world.hosts.holders = {"cp3"}


def etcd_is_full(world: World) -> None:
    world.hosts.alarms = [Alarm(2, "NOSPACE")]


def no_lease_is_renewed(world: World) -> None:
    world.api.renewed = STALE


def a_node_is_not_ready(world: World) -> None:
    world.api.put("/api/v1/nodes/w2", node("w2", ready=False))


def coredns_is_not_available(world: World) -> None:
    world.api.objects[COREDNS]["status"] |= {"availableReplicas": 0}


def coredns_is_gone(world: World) -> None:
    del world.api.objects[COREDNS]


def services_are_not_reached(world: World) -> None:
    world.hosts.broken = {"w1: cluster DNS": "timed out"}


def a_member_does_not_answer(world: World) -> None:
    world.hosts.silent = {"cp2"}


def a_pod_waits_for_a_sandbox_that_is_refused(world: World) -> None:
    world.api.put("/api/v1/pods/web", {
        "metadata": {"name": "web", "uid": "u1"}, "spec": {"nodeName": "w1"},
        "status": {"phase": "Pending", "conditions": [{"type": "PodReadyToStartContainers", "status": "False"}]}})
    world.api.put("/api/v1/events/e1", {"metadata": {"name": "e1"}, "involvedObject": {"uid": "u1"},
                                       "reason": "FailedCreatePodSandBox", "message": REFUSED})


ILL: list[tuple[Callable[[World], None], str]] = [
    (two_hosts_hold_the_vip, "keepalived of cp3 does not hear cp1: let VRRP (IP protocol 112) through"),
    (etcd_is_full, "cp2: etcd is out of space (alarm NOSPACE), every write is refused"),
    (no_lease_is_renewed, "no write is seen to go through"),
    (a_node_is_not_ready, "w2: kubelet: cni is not initialized"),
    (coredns_is_not_available, "coredns: 0 of 2 replicas available"),
    (coredns_is_gone, "coredns: there is no such Deployment"),
    (services_are_not_reached, "cluster DNS: timed out"),
    (a_member_does_not_answer, "etcd /readyz: connection refused"),
    (a_pod_waits_for_a_sandbox_that_is_refused, f"w1: Pods cannot start: {REFUSED}"),
]


@pytest.mark.parametrize(("break_it", "words"), ILL, ids=[b.__name__ for b, _ in ILL])
def test_status_is_not_healthy_where_the_last_gate_of_up_does_not_hold_and_both_say_the_same(
        built: World, break_it: Callable[[World], None], words: str) -> None:
    engine.run(surveyed(built), VERIFY)
    assert status.look(built.session()).healthy
    session = surveyed(built)
    break_it(built)
    with pytest.raises(GateFailed) as fault:
        engine.run(session, VERIFY)
    assert words in fault.value.message
    with built.session() as looking:
        seen = status.look(looking)
    assert not seen.healthy
    assert any(words in line for line in seen.attention), seen.attention


def test_data_near_the_quota_is_ill_and_no_reason_to_call_a_change_failed(built: World) -> None:
    built.hosts.size = 7 * 1024**3
    seen = status.look(built.session())
    assert not seen.healthy
    assert "cp1, cp2, cp3: etcd uses 7516.2 MB of the 8589.9 MB that it may (87 %)" in seen.attention[0]
    engine.run(surveyed(built), VERIFY)


def test_nothing_that_serves_is_restarted_while_etcd_has_little_room(built: World) -> None:
    session = with_a_restart(built)
    built.hosts.size = 7 * 1024**3
    with pytest.raises(RefusedForSafety, match=r"nothing: cp1, cp2, cp3: etcd uses .*kubewright etcd defrag"):
        may_begin.to_begin(session)
    may_begin.to_begin(session, [CLUSTER_ILL])


def test_a_host_is_asked_no_more_of_a_phase_than_that_its_unit_is_down(built: World) -> None:
    built.hosts.hosts["w1"].states["unit", "kubelet.service"] = "failed enabled current"
    built.hosts.broken = {"w1: kubelet": "connection refused"}
    assert status.look(built.session()).attention == ["w1: kubelet.service is not running: kubewright logs w1 kubelet"]


def test_a_host_that_is_new_is_told_in_one_line(built: World) -> None:
    built.hosts.hosts["w2"].states = {k: v for k, v in built.hosts.hosts["w2"].states.items() if k[0] != "unit"}
    lines = [line for line in status.look(built.session()).attention if line.startswith("w2")]
    assert lines == ["w2: not built yet: kubewright up"]


def test_an_etcd_without_a_quorum_is_not_asked_for_alarms_and_one_that_does_not_tell_is_not_well(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(access: object, *, timeout: float = 3.0) -> None:
        raise etcd.EtcdFault("etcd: asking for alarms: timed out")

    monkeypatch.setattr(etcd, "alarms", refuses)
    (found,) = health.look(surveyed(built), health.SERVING).findings
    assert (found.check, found.severity) == ("etcd-alarms", "unseen")
    built.hosts.silent = {"cp1", "cp2", "cp3"}
    assert "etcd-alarms" not in {f.check for f in health.look(surveyed(built), health.SERVING).findings}


def forbidding(*hosts: str) -> Callable[[object, str], object]:
    def access(session: object, host: str) -> object:
        if host in hosts:
            raise forwarding_fault(host)
        return allowed(session, host)  # type: ignore[arg-type]

    from tests.fakes.session import FakeAccess
    allowed = FakeAccess.etcd
    return access


def forbid(patch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Let sshd of these hosts forbid forwarding, as Session tells it."""
    from tests.fakes.session import FakeAccess

    patch.setattr(FakeAccess, "etcd", forbidding(*hosts))
    if set(hosts) >= {"cp1", "cp2", "cp3"}:
        def kube(session: object) -> None:
            raise_all({host: forwarding_fault(host) for host in hosts})
        patch.setattr(FakeAccess, "kube", kube)


def test_where_sshd_forbids_forwarding_nothing_is_lost_but_not_seen(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "cp1", "cp2", "cp3")
    seen = status.look(built.session())
    assert seen.quorum == "not seen" and not seen.healthy
    assert [(h.etcd, h.kubelet, h.version) for h in seen.hosts[:3]] == [("?", "?", "?")] * 3
    assert [h.api for h in seen.hosts[:3]] == ["ok"] * 3, "that a host says itself"
    assert len(seen.attention) == 1
    assert seen.attention[0].startswith("cp1, cp2, cp3: reaching etcd and the API through SSH: sshd forbids forwarding")
    assert "no member answers" not in str(seen.attention)


def test_where_sshd_of_one_host_forbids_forwarding_the_others_are_seen(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "cp1")
    seen = status.look(built.session())
    assert seen.quorum == "2 of 3, can lose 0; not seen: cp1"
    assert [h.etcd[:6] for h in seen.hosts[:3]] == ["?", "member", "member"]
    assert sum("forbids forwarding" in line for line in seen.attention) == 1


def test_where_no_control_plane_can_be_reached_nothing_is_said_to_be_ill_there(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def kube(session: object) -> None:
        raise NobodyThere("no control plane answers")

    monkeypatch.setattr("tests.fakes.session.FakeAccess.kube", kube)
    for host in ("cp1", "cp2", "cp3"):
        built.hosts.hosts[host].down = True
    seen = status.look(built.session())
    assert not seen.healthy and seen.quorum == "not seen"
    of_cluster = {(f.severity, f.saw) for f in seen.findings if f.host in ("", "cp1", "cp2", "cp3")}
    assert {severity for severity, _ in of_cluster} == {"unseen"}, of_cluster


def test_a_plan_does_not_claim_objects_that_it_could_not_read(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "cp1", "cp2", "cp3")
    with pytest.raises(Unreachable, match="forbids forwarding"):
        surveyed(built)


def test_nothing_that_serves_is_restarted_while_etcd_refuses_writes(built: World) -> None:
    etcd_is_full(built)
    session = with_a_restart(built)
    with pytest.raises(RefusedForSafety) as fault:
        may_begin.to_begin(session)
    assert fault.value.message.startswith("restarting nothing: cp2: etcd is out of space (alarm NOSPACE)")
    assert "nothing was changed; API servers ready: cp1, cp2, cp3" in fault.value.details
    assert fault.value.hint == "kubewright etcd defrag"
    assert f"where the change itself is the cure: kubewright up --allow {CLUSTER_ILL}" in fault.value.details
    may_begin.to_begin(session, [CLUSTER_ILL])
    may_begin.to_begin(surveyed_without_a_restart(built))


def test_nothing_that_serves_is_restarted_while_a_member_is_far_behind(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = etcd.status

    def status(access: Any, *, timeout: float = 3.0) -> EtcdStatus:
        applied = 4000 if access.address[0] == "cp3" else 9000
        return replace(plain(access, timeout=timeout), raft_index=applied, applied=applied)

    monkeypatch.setattr(etcd, "status", status)
    with pytest.raises(RefusedForSafety, match="restarting nothing: cp3: its etcd member is 5000 entries behind"):
        may_begin.to_begin(with_a_restart(built))
    may_begin.to_begin(surveyed_without_a_restart(built))


def test_the_alarm_of_a_member_that_does_not_answer_is_told_with_the_name_that_the_others_know(built: World) -> None:
    built.hosts.alarms = [Alarm(2, "CORRUPT")]
    built.hosts.silent = {"cp2"}
    with pytest.raises(RefusedForSafety, match=r"cp2: etcd.s data is damaged .*kubewright node replace cp2"):
        may_begin.to_begin(with_a_restart(built))


def test_a_verb_that_takes_no_flag_is_sent_to_none(built: World) -> None:
    etcd_is_full(built)
    session = with_a_restart(built)
    session.run.go_on = "kubewright node remove w2"
    with pytest.raises(RefusedForSafety) as fault:
        may_begin.to_begin(session, verb="node remove")
    assert fault.value.details[-1] == "when the cluster is well: kubewright node remove w2"
    assert not any("--allow" in line for line in fault.value.details)


def surveyed_without_a_restart(world: World) -> Session:
    world.hosts.hosts["w1"].states["unit", "kubelet.service"] = "inactive enabled current"
    world.hosts.hosts["w1"].states["file", KUBELET] = world.hosts.hosts["w2"].states["file", KUBELET]
    return surveyed(world)


def test_nothing_that_serves_is_restarted_while_no_write_goes_through(built: World) -> None:
    no_lease_is_renewed(built)
    with pytest.raises(RefusedForSafety, match="no write is seen to go through"):
        may_begin.to_begin(with_a_restart(built))


def test_nothing_that_serves_is_restarted_while_nobody_can_see_the_api(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = with_a_restart(built)
    monkeypatch.setattr(type(session.access), "kube", _no_answer)
    with pytest.raises(RefusedForSafety, match="API: "):
        may_begin.to_begin(session)
    built.hosts.broken = {"kube-apiserver /readyz": "connection refused"}
    may_begin.to_begin(session)     # it serves nobody: what is done to it is its repair


def _no_answer(session: object) -> None:
    raise ApiFault("GET /api/v1/nodes", "connection refused")


def test_nothing_that_serves_is_restarted_while_nobody_can_see_a_quorum(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = with_a_restart(built)

    def refuses(access: object, *, timeout: float = 3.0) -> None:
        raise etcd.EtcdFault("etcd: asking a member for its status: bad certificate")

    monkeypatch.setattr(etcd, "status", refuses)
    with pytest.raises(RefusedForSafety, match="cp1, cp2, cp3: etcd: asking a member for its status: bad certificate"):
        may_begin.to_begin(session)
    built.hosts.broken = {"etcd /readyz": "no leader"}
    may_begin.to_begin(session)     # it has no quorum: what is done to it is its repair


def test_credentials_that_did_not_let_us_see_are_not_kept_for_the_run_that_renews_them(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = with_a_restart(built)
    forgotten: list[object] = []
    monkeypatch.setattr(type(session.access), "forget_credentials", lambda self: forgotten.append(self))
    may_begin.to_begin(session)
    assert forgotten == []
    built.hosts.silent = {"cp2"}
    may_begin.to_begin(session)
    assert forgotten == [session.access]


def test_one_member_that_is_ill_stops_no_repair_of_it(built: World) -> None:
    built.hosts.silent = {"cp2"}
    may_begin.to_begin(with_a_restart(built))


def test_who_has_no_rights_yet_may_get_them(built: World) -> None:
    session = with_a_restart(built)
    built.api.refuse = 403
    may_begin.to_begin(session)


def test_findings_of_one_cause_are_one_line() -> None:
    found = [Finding("x", h, "error", "forbidden", f"on {h}: allow it") for h in ("cp1", "cp2")]
    assert lines([*found, Finding("y", "", "error", "etcd: no leader", "")]) == [
        "cp1, cp2: forbidden: on cp1, cp2: allow it", "etcd: no leader"]
