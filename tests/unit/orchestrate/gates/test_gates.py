"""What is asked of hosts and APIs, how long, and what a gate that stays shut says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from provisioner.applier.probe import KINDS
from provisioner.errors import GateFailed, KubewrightError, LockHeld, Unreachable
from provisioner.model.phases import PHASES
from provisioner.operate.kube import object_path
from provisioner.orchestrate.gates import api_servers, etcd_members, node_states, proofs, workloads
from provisioner.orchestrate.gates.gate_probes import host_probes, node_probes
from provisioner.orchestrate.phases.verify import cluster_is_healthy, mark_nodes
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.session.session import Session
from provisioner.transport.hosts import OneHost
from tests.fakes.api import node
from tests.fakes.session import World, instant


def units_of(probes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return since_restarts of every unit probe; `-` where it is not asked."""
    return {p["unit"]: p.get("since_restarts", "-") for p in probes if p["kind"] == "unit"}


def surveyed(world: World) -> Session:
    session = world.session()
    survey(session)
    return session


def test_every_unit_of_a_phase_must_be_current_and_answer(built: World) -> None:
    probes = host_probes(surveyed(built), "cp1", "node")
    assert [(p["name"], p["kind"]) for p in probes] == [
        ("kubelet.service", "unit"), ("kube-proxy.service", "unit"), ("kubelet", "http"), ("kube-proxy", "http"),
        ("packet rules of kube-proxy", "rules")]
    assert all(p["current"] and p["inputs"] for p in probes if p["kind"] == "unit")


def test_the_applier_knows_every_probe_that_is_sent_to_it(built: World) -> None:
    session = surveyed(built)
    for host in session.the_plan.desired.hosts:
        for phase in PHASES:
            for probe in host_probes(session, host, phase):
                assert probe["kind"] in KINDS
                assert probe["kind"] != "unit" or int(probe["since_restarts"]) >= 0


def test_an_api_server_is_asked_directly_and_through_haproxy_with_a_verified_certificate(built: World) -> None:
    probes = [p for p in host_probes(surveyed(built), "cp2", "control-plane") if p["kind"] == "http"]
    assert [p["url"] for p in probes] == ["https://10.77.0.12:6443/readyz", "https://127.0.0.1:7443/readyz"]
    assert all(p["ca"] and p["cert"] and p["key"] for p in probes)


def test_a_host_without_units_of_a_phase_is_asked_nothing(built: World) -> None:
    session = surveyed(built)
    assert host_probes(session, "w1", "etcd") == []
    assert host_probes(session, "w1", "control-plane") == []


def test_exits_of_a_unit_count_from_what_the_survey_saw(built: World) -> None:
    built.hosts.hosts["w1"].extras["unit", "kubelet.service"] = {"restarts": 7}
    assert units_of(host_probes(surveyed(built), "w1", "node")) == {
        "kubelet.service": 7, "kube-proxy.service": 0}


def test_exits_of_a_unit_that_this_run_restarts_count_from_nothing_on_that_host_only(built: World) -> None:
    for name in ("w1", "w2"):
        built.hosts.hosts[name].extras["unit", "kubelet.service"] = {"restarts": 7}
    built.hosts.hosts["w1"].states["unit", "kubelet.service"] = "failed enabled current"
    session = surveyed(built)
    assert session.the_plan.started == {("w1", "kubelet.service")}
    assert units_of(host_probes(session, "w1", "node"))["kubelet.service"] == 0
    assert units_of(host_probes(session, "w2", "node"))["kubelet.service"] == 7


def test_a_reload_does_not_make_systemd_count_anew(built: World) -> None:
    built.hosts.hosts["w1"].extras["unit", "haproxy.service"] = {"restarts": 3}
    built.hosts.hosts["w1"].edit("/etc/haproxy/haproxy.cfg", "file sha256:by-hand 0644 root:root", "global\n",
                                 unit="haproxy.service")
    session = surveyed(built)
    assert [c.action for c in session.the_plan.changes if c.kind == "unit"] == ["reload"]
    assert units_of(host_probes(session, "w1", "load-balancer")) == {"haproxy.service": 3}


def test_after_a_run_that_restarted_anything_earlier_exits_no_longer_count(built: World) -> None:
    # A leader that lost its lease exits while API servers restart; it has passed its own gate since.
    quiet = surveyed(built)
    assert set(units_of(host_probes(quiet, "w1", "node", again=True)).values()) == {0}
    built.hosts.hosts["cp1"].states["unit", "kube-apiserver.service"] = "inactive enabled current"
    busy = surveyed(built)
    assert set(units_of(host_probes(busy, "w1", "node", again=True)).values()) == {"-"}


def test_verify_asks_every_unit_of_every_host_in_one_round_and_dns_from_every_node(built: World) -> None:
    session = surveyed(built)
    built.hosts.probed.clear()
    cluster_is_healthy(session)
    rounds = built.hosts.probed
    assert [host for host, _ in rounds[:5]] == ["cp1", "cp2", "cp3", "w1", "w2"]
    assert len(rounds) == 5
    assert all("cluster DNS" in names for _, names in rounds)
    assert {"etcd.service", "kube-apiserver.service", "kubelet.service", "flanneld.service"} <= set(rounds[0][1])
    assert [h for h, names in rounds if "API at the VIP" in names] == ["cp1", "cp2", "cp3"]


def test_a_shut_gate_names_the_host_the_reason_and_the_command_that_shows_more(built: World) -> None:
    built.hosts.broken = {"kubelet.service": "activating (auto-restart): exited 2 times, it does not stay up"}
    with pytest.raises(GateFailed) as fault:
        proofs.phase_holds(surveyed(built), "node", ["w1"])
    assert fault.value.message == ("w1: gate after node: not so after 0 s: kubelet.service: activating (auto-restart): "
                                   "exited 2 times, it does not stay up")
    assert fault.value.hint == "kubewright logs w1 kubelet"
    assert fault.value.exit_code == 13


@pytest.mark.parametrize(("broken", "hint"), [
    ("etcd /readyz", "kubewright logs cp1 etcd"), ("API at the VIP", "kubewright status")])
def test_the_hint_of_a_probe_that_is_no_unit_is_still_a_command_that_runs(built: World, broken: str, hint: str) -> None:
    session = surveyed(built)
    built.hosts.broken = {f"cp1: {broken}": "503"}
    with pytest.raises(GateFailed) as fault:
        proofs.phase_holds(session, "etcd")
        api_servers.vip_answers(session)
    assert fault.value.hint == hint


@pytest.mark.parametrize(("broken", "hint"), [
    ("API at the VIP", "kubewright status"), ("cluster DNS", "kubewright status"),
    ("kubelet.service", "kubewright logs cp1 kubelet"),
    ("packet rules of kube-proxy", "kubewright logs cp1 kubewright-network-watch"),
    ("Pod network", "kubewright logs cp1 kubewright-network-watch")])
def test_in_the_end_no_unit_is_blamed_for_what_many_have_a_part_in(built: World, broken: str, hint: str) -> None:
    built.hosts.broken = {f"cp1: {broken}": "no answer"}
    with pytest.raises(GateFailed) as fault:
        cluster_is_healthy(surveyed(built))
    assert fault.value.hint == hint


def test_several_hosts_that_do_not_hold_are_one_error(built: World) -> None:
    built.hosts.broken = {"kubelet": "connection refused"}
    with pytest.raises(GateFailed) as fault:
        proofs.phase_holds(surveyed(built), "node")
    assert all(h in fault.value.message for h in ("cp1", "cp2", "cp3", "w1", "w2"))


def test_a_host_that_cannot_be_asked_is_not_taken_for_well(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(one: OneHost, probes: Any, deadline: float) -> dict[str, Any]:
        raise Unreachable(f"{one.name}: connecting: refused")

    session = surveyed(built)
    monkeypatch.setattr(built.hosts, "probe", probe)
    with pytest.raises(Unreachable, match="w1"):
        proofs.phase_holds(session, "node", ["w1"])


def told(world: World, type_: str) -> list[tuple[str, str, str, Any]]:
    """Return phase, host, status and data of the events of one type."""
    return [(e.phase, e.host, e.status, e.data) for e in world.events if e.type == type_]


def test_every_host_s_gate_is_told_with_what_was_proved_and_when_it_held(built: World) -> None:
    session = surveyed(built)
    built.hosts.broken = {"w2: kubelet": "connection refused"}
    with pytest.raises(GateFailed):
        proofs.phase_holds(session, "node", ["w1", "w2"])
    proved = {"when": "after", "proved": [
        "kubelet.service", "kube-proxy.service", "kubelet", "kube-proxy", "packet rules of kube-proxy"]}
    assert told(built, "gate") == [("node", "w1", "ok", proved), ("node", "w2", "failed", proved)]
    assert all(e.seconds is not None for e in built.events if e.type == "gate")
    assert "connection refused" in built.events[-1].message


def test_while_a_host_s_gate_is_shut_it_is_told_every_few_seconds_what_is_missing(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session, sleeps, asked = surveyed(built), instant(monkeypatch), []

    def probe(one: OneHost, probes: Any, deadline: float) -> dict[str, Any]:
        asked.append(deadline)
        sleeps.append(deadline)
        result = {"name": "kubelet", "ok": False, "reason": f"look {len(asked)}"}
        return {"ok": False, "hopeless": False, "seconds": deadline, "results": [result]}

    monkeypatch.setattr(built.hosts, "probe", probe)
    with pytest.raises(GateFailed, match=r"not so after 12 s: kubelet: look 3"):
        proofs.phase_holds(session, "node", ["w1"], 12.0)
    assert asked == pytest.approx([proofs.TELL, proofs.TELL, 2.0], abs=0.2), "no longer than to the deadline"
    assert [(e.host, e.message) for e in built.events if e.type == "waiting"] == [
        ("w1", "kubelet: look 1"), ("w1", "kubelet: look 2")]


def test_what_cannot_come_to_hold_is_not_waited_for(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session, asked = surveyed(built), []

    def probe(one: OneHost, probes: Any, deadline: float) -> dict[str, Any]:
        asked.append(deadline)
        return {"ok": False, "hopeless": True, "seconds": 0.1, "results": []}

    monkeypatch.setattr(built.hosts, "probe", probe)
    with pytest.raises(GateFailed):
        proofs.phase_holds(session, "node", ["w1"])
    assert len(asked) == 1


@pytest.mark.parametrize(("goes_back", "others", "waited"), [
    (False, ("cp1", "cp3"), api_servers.START), (True, ("cp1", "cp3"), proofs.STOP + proofs.DEADLINE),
    (False, (), proofs.STOP + proofs.DEADLINE)])
def test_a_changed_api_server_beside_others_is_given_a_minute_from_its_start_and_the_old_and_the_only_one_more(
        built: World, monkeypatch: pytest.MonkeyPatch, goes_back: bool, others: tuple[str, ...], waited: float,
        ) -> None:
    session, sleeps, asked = surveyed(built), instant(monkeypatch), []
    session.run.as_they_run = {"cp2"} if goes_back else set()
    monkeypatch.setattr(type(session), "api_servers", property(lambda _: ("cp2", *others)))

    def probe(one: OneHost, probes: Any, deadline: float) -> dict[str, Any]:
        asked.append(deadline)
        sleeps.append(deadline)
        given_up = [p["unit"] for p in probes if "patience" in p]       # by the host: it has run for so long
        result = {"name": "kube-apiserver is ready", "ok": False, "reason": f"refused {given_up}"}
        return {"ok": False, "hopeless": bool(given_up), "seconds": deadline, "results": [result]}

    monkeypatch.setattr(built.hosts, "probe", probe)
    said = "['kube-apiserver.service']" if others and not goes_back else "[]"
    with pytest.raises(GateFailed, match=re.escape(f"refused {said}")):
        api_servers.api_server_is_back(session, "cp2", with_its_inputs=True)
    assert sum(asked) == pytest.approx(waited, abs=proofs.TELL + 0.5)


def test_waiting_for_the_cluster_tells_what_it_proved(world: World) -> None:
    proofs.wait_until(world.session(), "network", lambda: "", proof="Ready: w1")
    assert told(world, "gate") == [("network", "", "ok", {"when": "after", "proved": ["Ready: w1"]})]


def test_waiting_ends_with_the_last_reason_and_tells_it_meanwhile(world: World,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    looks: list[int] = []

    def look() -> str:
        looks.append(1)
        return f"reason {len(looks)}"

    with pytest.raises(GateFailed) as fault:
        proofs.wait_until(world.session(), "network", look, 30.0)
    assert len(looks) == pytest.approx(30.0 / proofs.INTERVAL, abs=2)
    assert f"reason {len(looks)}" in fault.value.message
    waiting = [e for e in world.events if e.type == "waiting"]
    assert 4 <= len(waiting) <= 6
    assert {e.phase for e in waiting} == {"network"}


def test_waiting_takes_a_fault_for_a_reason_to_look_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    answers = iter(["refused", "refused", ""])

    def look() -> str:
        if reason := next(answers):
            raise KubewrightError(reason)
        return ""

    proofs.wait_until(world.session(), "access", look, 5.0)


def test_a_lost_lock_ends_the_waiting_as_what_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = instant(monkeypatch)

    def look() -> str:
        raise LockHeld("the lock was lost")

    with pytest.raises(LockHeld):
        proofs.wait_until(world.session(), "etcd", look, 60.0)
    assert sleeps == []


def test_etcd_is_one_cluster_only_when_exactly_the_inventory_s_members_answer(built: World,
                                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    etcd_members.etcd_is_one_cluster(surveyed(built))
    built.hosts.hosts["cp3"].states["unit", "etcd.service"] = "inactive enabled current"
    with pytest.raises(GateFailed, match="connection refused"):
        etcd_members.etcd_is_one_cluster(surveyed(built))


def test_nodes_are_ready_says_of_each_what_is_missing(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    session = surveyed(built)
    built.api.put("/api/v1/nodes/w1", node("w1", ready=False))
    del built.api.objects["/api/v1/nodes/w2"]
    del built.hosts.hosts["w2"].states["unit", "kubelet.service"]
    with pytest.raises(GateFailed, match="w1: cni is not initialized; w2: not registered"):
        node_states.nodes_are_ready(session)
    node_states.nodes_are_ready(session, ["cp1", "cp2"])


@pytest.mark.parametrize(("status", "reason"), [
    ({"observedGeneration": 0}, "not seen by the controller-manager yet"),
    ({"observedGeneration": 9, "updatedReplicas": 1, "availableReplicas": 2}, "2 of 2 replicas available"),
    ({"observedGeneration": 9, "updatedReplicas": 2, "availableReplicas": 1}, "1 of 2 replicas available")])
def test_a_deployment_counts_only_with_all_replicas_of_its_present_generation(
        built: World, monkeypatch: pytest.MonkeyPatch, status: dict[str, int], reason: str) -> None:
    instant(monkeypatch)
    session = surveyed(built)
    path = next(object_path(o.body) for o in session.the_plan.desired.objects if o.body["kind"] == "Deployment")
    workloads.deployment_is_available(session, "kube-system", path.rpartition("/")[2])
    built.api.objects[path] |= {"status": status, "spec": {"replicas": 2}}
    built.api.objects[path]["metadata"]["generation"] = 1
    with pytest.raises(GateFailed, match=reason):
        workloads.deployment_is_available(session, "kube-system", path.rpartition("/")[2])


def test_without_a_node_one_replica_of_a_deployment_is_enough_but_none_is_not(built: World,
                                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    session = surveyed(built)
    session.unreachable["w1"] = Unreachable("w1: cut off")
    path = next(object_path(o.body) for o in session.the_plan.desired.objects if o.body["kind"] == "Deployment")
    status = built.api.objects[path]["status"]
    status["availableReplicas"] = 1
    workloads.deployment_is_available(session, "kube-system", path.rpartition("/")[2])
    status["availableReplicas"] = 0
    with pytest.raises(GateFailed, match="0 of 2 replicas"):
        workloads.deployment_is_available(session, "kube-system", path.rpartition("/")[2])


def test_nodes_get_their_role_labels_once_and_strangers_none(built: World) -> None:
    built.api.put("/api/v1/nodes/old1", node("old1"))
    del built.api.objects["/api/v1/nodes/w1"]["metadata"]["labels"]
    session = surveyed(built)
    assert [(o.phase, o.identity, o.action, o.reason) for o in session.the_plan.objects] == [
        ("verify", "Node w1", "change", "+label node-role.kubernetes.io/worker")]
    assert mark_nodes(session) == "1 node labelled"
    assert mark_nodes(surveyed(built)) == ""
    del built.api.objects["/api/v1/nodes/w1"]["metadata"]["labels"]
    session, there = surveyed(built), built.api.objects.pop("/api/v1/nodes/w1")
    session.unreachable["w1"] = GateFailed("w1: apt: no such package")
    assert mark_nodes(session) == "", "a host that was given up before it had a Node stops nobody"
    built.api.objects["/api/v1/nodes/w1"] = there
    assert mark_nodes(surveyed(built)) == "1 node labelled"
    assert built.api.objects["/api/v1/nodes/w1"]["metadata"]["labels"] == {"node-role.kubernetes.io/worker": ""}
    assert built.api.objects["/api/v1/nodes/cp1"]["metadata"]["labels"] == {
        "node-role.kubernetes.io/control-plane": ""}
    assert built.api.objects["/api/v1/nodes/old1"]["metadata"]["labels"] == {}


def test_a_network_of_one_s_own_is_not_waited_for(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.make(tmp_path, monkeypatch, network={"hosts": ["10.77.0.0/24"], "plugin": "none"})
    session = surveyed(world)
    assert {p["name"] for h in session.the_plan.desired.hosts for p in host_probes(session, h, "network")} == {
        "kubewright-network-watch.service"}
    assert [p["name"] for p in node_probes(session, "w1")] == ["Service address of the API", "cluster DNS"]


def test_every_node_is_asked_for_its_rules_its_ways_to_all_others_a_service_and_dns(built: World) -> None:
    session = surveyed(built)
    rules = next(p for p in host_probes(session, "w1", "network") if p["kind"] == "rules")
    assert (rules["name"], [r["chain"] for r in rules["rules"]]) == (
        "packet rules of flanneld", ["ip flannel-ipv4 postrtg", "ip flannel-ipv4 forward"])
    service, ways, names = node_probes(session, "w1")
    assert (service["url"], service["status"]) == ("https://10.96.0.1:443/readyz", 200)
    assert (ways["device"], set(ways["peers"])) == ("flannel.1", {"cp1", "cp2", "cp3", "w2"})
    assert (names["server"], names["answer"]) == ("10.96.0.10", "10.96.0.1")
    assert {p["kind"] for p in (rules, service, ways, names)} <= set(KINDS)


def test_no_way_is_asked_for_to_a_node_that_the_run_does_without(built: World) -> None:
    session = surveyed(built)
    session.unreachable["w2"] = Unreachable("w2: no route to host")
    assert "w2" not in node_probes(session, "w1")[1]["peers"]


def test_a_host_that_was_not_observed_counts_from_nothing(built: World) -> None:
    built.hosts.hosts["w1"].extras["unit", "kubelet.service"] = {"restarts": 7}
    session = surveyed(built)
    assert units_of(host_probes(session, "w1", "node"))["kubelet.service"] == 7
    session.target.observed = {h: o for h, o in session.observed.items() if h != "w1"}
    assert set(units_of(host_probes(session, "w1", "node")).values()) == {0}
