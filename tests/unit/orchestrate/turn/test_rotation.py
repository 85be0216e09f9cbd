"""An API server is out of every HAProxy before it is touched, and back whatever happens."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from provisioner.compile.control_plane import AUTHENTICATION_CONFIG
from provisioner.compile.rules import CLUSTER_ILL
from provisioner.converge import runner
from provisioner.converge.results import HostResult
from provisioner.errors import GateFailed, KubewrightError, RefusedForSafety, Unreachable
from provisioner.operate import etcd as api
from provisioner.orchestrate.look import status
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import rotation
from provisioner.transport.hosts import OneHost
from tests.fakes.session import World, at_each_step, instant

HOSTS = ("cp1", "cp2", "cp3", "w1", "w2")
ETCD_UNIT_FILE = ("file", "/etc/systemd/system/etcd.service")


def up(world: World) -> None:
    world.perform()


def edit(world: World, *hosts: str) -> None:
    """Change a file by hand that an API server reads at its start."""
    for name in hosts:
        world.hosts.hosts[name].edit(
            AUTHENTICATION_CONFIG, "file sha256:by-hand 0600 root:root", unit="kube-apiserver.service")


def edit_etcd(world: World, *hosts: str) -> None:
    for name in hosts:
        world.hosts.hosts[name].edit(
            ETCD_UNIT_FILE[1], "file sha256:by-hand 0600 root:root", unit="etcd.service")


def story(world: World) -> list[str]:
    """Return what was done, in order; what was said to every HAProxy alike is one line."""
    lines: list[str] = []
    for entry in world.hosts.log:
        kind, *rest = entry
        if kind == "haproxy":
            told = sorted({e[1] for e in world.hosts.log if e[0] == kind and e[2:] == entry[2:]})
            line = f"{rest[1]} {rest[2]} in {', '.join(told)}"
        else:
            line = f"{kind} {rest[0]}" + (f" {','.join(rest[1])}" if kind == "apply" else "")
        if line not in lines[-1:]:
            lines.append(line)
    return [line.replace(f" in {', '.join(HOSTS)}", "") for line in lines]


def surveyed(world: World) -> Session:
    session = world.session()
    survey(session)
    return session


def test_each_api_server_is_drained_before_it_is_changed_and_back_before_the_next(built: World) -> None:
    edit(built, "cp1", "cp2", "cp3")
    up(built)
    assert story(built) == [line for host, n in (("cp1", 0), ("cp2", 1), ("cp3", 2)) for line in (
        f"{host} drain", f"apply control-plane.{n} {host}", f"{host} ready")]
    assert {b.states[s] for b in built.hosts.balancers.values() for s in b.states} == {"ready"}


def test_a_turn_asks_each_haproxy_in_three_rounds(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(built, "cp1")
    asked: list[str] = []
    real = type(built.hosts).ask

    def ask(hosts: Any, one: Any, *args: Any, **rest: Any) -> Any:
        asked.append(one.name)
        return real(hosts, one, *args, **rest)

    monkeypatch.setattr(type(built.hosts), "ask", ask)
    up(built)
    assert story(built) == ["cp1 drain", "apply control-plane.0 cp1", "cp1 ready"]
    assert Counter(asked) == dict.fromkeys(HOSTS, 3), "each costs a process on every host"


def test_it_is_not_touched_while_anybody_is_still_sent_to_it(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(built, "cp1")
    built.hosts.balancers["w2"].late["cp1"] = 5
    left: list[int] = []
    real = built.hosts.apply

    def apply(*args: Any, **rest: Any) -> dict[str, HostResult]:
        left.append(built.hosts.balancers["w2"].late["cp1"])
        return real(*args, **rest)

    monkeypatch.setattr(runner, "apply", apply)
    up(built)
    assert left == [0]


@pytest.mark.parametrize("stop", [GateFailed("x"), KeyboardInterrupt()])
def test_it_is_set_ready_again_whatever_ends_the_change(
        built: World, monkeypatch: pytest.MonkeyPatch, stop: BaseException) -> None:
    edit(built, "cp1", "cp2")

    def apply(*args: Any, **rest: Any) -> None:
        raise stop

    monkeypatch.setattr(runner, "apply", apply)
    with pytest.raises(KubewrightError):
        up(built)
    assert story(built) == ["cp1 drain", "cp1 ready"]


def test_a_failed_proof_sets_it_ready_and_no_other_is_touched(built: World) -> None:
    edit(built, "cp1", "cp2")
    built.hosts.broken = {"API at the VIP": "502"}
    with pytest.raises(GateFailed, match="API at the VIP"):
        up(built)
    assert story(built) == ["cp1 drain", "apply control-plane.0 cp1", "apply control-plane.0.back cp1", "cp1 ready"]


def test_a_host_whose_haproxy_does_not_answer_is_told_and_does_not_block(built: World) -> None:
    edit(built, "cp1")
    built.hosts.mute = {"w2"}
    up(built)
    assert story(built) == ["cp1 drain in cp1, cp2, cp3, w1", "apply control-plane.0 cp1",
                            "cp1 ready in cp1, cp2, cp3, w1"]
    told = [e for e in built.events if e.type == "diagnostic"]
    assert [(e.host, "the others go on without it" in e.message) for e in told] == [("w2", True)]


def test_a_haproxy_that_drained_it_and_lost_its_answer_is_told_to_take_it_back(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(built, "cp1")
    lost: list[str] = []

    real = built.hosts.ask

    def ask(one: OneHost, path: str, lines: Any, **rest: Any) -> Any:
        answer = real(one, path, lines, **rest)
        if one.name == "w2" and any(" drain" in line for line in lines):
            lost.append("w2")
            raise Unreachable("w2: applier socket: the connection was lost")
        return answer

    monkeypatch.setattr(built.hosts, "ask", ask)
    up(built)
    assert lost == ["w2"]
    assert {b.states["cp1"] for b in built.hosts.balancers.values()} == {"ready"}


def test_an_api_server_that_cannot_be_asked_is_drained_all_the_same(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(built, "cp1")

    real = built.hosts.probe

    def probe(one: OneHost, probes: Any, deadline: float, **rest: Any) -> Any:
        if [(one.name, p["name"]) for p in probes] == [("cp1", "kube-apiserver /readyz")]:
            raise Unreachable("cp1: applier probe: the connection was lost")
        return real(one, probes, deadline, **rest)

    monkeypatch.setattr(built.hosts, "probe", probe)
    up(built)
    assert story(built) == ["cp1 drain", "apply control-plane.0 cp1", "cp1 ready"]


def test_where_no_haproxy_answers_at_all_nothing_is_touched(built: World) -> None:
    edit(built, "cp1")
    built.hosts.mute = set(HOSTS)
    with pytest.raises(GateFailed, match="no host's HAProxy answers"):
        up(built)
    assert story(built) == []


def test_a_host_that_sees_another_api_server_down_is_waited_for_and_then_refused(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(built, "cp1")
    built.hosts.balancers["w1"].is_up = lambda server: server != "cp2"
    with pytest.raises(GateFailed, match=r"before control-plane: .*HAProxy of w1: cp2 is ready and down"):
        up(built)
    assert "cp1 drain" not in story(built)


def test_an_api_server_that_serves_nobody_is_changed_first_and_drained_nowhere(built: World) -> None:
    edit(built, "cp1", "cp2", "cp3")
    built.hosts.broken = {"cp3: kube-apiserver /readyz": "500"}
    with at_each_step(built, built.hosts.broken.clear):
        up(built)
    assert story(built)[:3] == ["apply control-plane.0 cp3", "cp1 drain", "apply control-plane.1 cp1"]


def test_where_all_are_active_and_none_is_ready_they_are_repaired_one_after_the_other(built: World) -> None:
    edit(built, "cp1", "cp2", "cp3")
    built.hosts.broken = {f"{h}: kube-apiserver /readyz": "500" for h in ("cp1", "cp2", "cp3")}
    real = built.hosts.apply

    def apply(inventory: Any, directory: Any, hosts: Any, **rest: Any) -> dict[str, HostResult]:
        for host in hosts:
            built.hosts.broken.pop(f"{host}: kube-apiserver /readyz")
        return real(inventory, directory, hosts, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "apply", apply)
        up(built)
    assert story(built) == ["apply control-plane.0 cp1", "apply control-plane.1 cp2", "apply control-plane.2 cp3"]


def test_what_a_killed_run_left_out_is_put_back_before_another_is_drained(built: World) -> None:
    edit_etcd(built, "cp1")             # its phase comes before that of the balancers, which puts back the rest
    built.hosts.balancers["w1"].states["cp2"] = "drain"
    up(built)
    assert story(built)[0] == "cp2 ready"
    assert built.hosts.log.index(("haproxy", "w1", "cp2", "ready")) < built.hosts.log.index(
        ("haproxy", "cp1", "cp1", "drain"))


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_what_a_killed_run_left_out_is_seen_told_and_put_back_although_nothing_else_differs(
        built: World, state: str) -> None:
    for host in ("cp3", "w1"):
        built.hosts.balancers[host].states["cp2"] = state
    with built.session() as session:
        plan = survey(session)
        assert (plan.drained_servers, plan.is_empty, plan.changes) == ({"cp2": ("cp3", "w1")}, False, ())
    with built.session() as session:
        assert "cp2: left out of service in the HAProxy of cp3, w1: kubewright up" in status.look(session).attention
    up(built)
    assert story(built) == ["cp2 ready"]
    assert [e.message for e in built.events if e.type == "phase-done" and e.phase == "load-balancer"] == [
        "cp2 back in service"]
    with built.session() as session:
        assert survey(session).is_empty


def test_a_single_control_plane_is_not_drained_there_is_nobody_to_serve_instead(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = surveyed(built)
    monkeypatch.setattr(type(session.cluster), "control_planes", session.cluster.control_planes[:1])
    with rotation.out_of_service(session, "cp1"):
        pass
    assert story(built) == []


@pytest.mark.parametrize("other", [True, False])
def test_what_the_plan_says_of_a_member_and_its_api_server_is_what_the_run_records(built: World, other: bool) -> None:
    edit_etcd(built, "cp2")
    if other:
        edit(built, "cp2")
    plan = surveyed(built).the_plan
    up(built)
    told = [row for e in built.events if e.type == "changed" and e.data for row in e.data["changes"]]
    assert [(r["kind"], r["path"], r["reason"]) for r in told if r["result"] == "done"] == [
        (c.kind, c.path, c.reason) for c in plan.changes]
    assert ("kube-apiserver.service", "restart") in {(c.path, c.action) for c in plan.changes}
    steps = {e.data.get("step") for e in built.events if e.type == "changed" and e.data}
    assert steps == {"etcd.0"}, "both phases in one step of the host"


def test_a_member_restarts_with_its_api_server_out_of_service_stopped_before_and_started_after(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_etcd(built, "cp2")
    edit(built, "cp2")
    acts: list[tuple[str, str]] = []
    real = type(built.hosts.hosts["cp2"]).change

    def change(host: Any, request: Any, step: str) -> str:
        acts.append((request["path"], request["action"]))
        return real(host, request, step)

    monkeypatch.setattr(type(built.hosts.hosts["cp2"]), "change", change)
    up(built)
    assert story(built) == ["cp2 drain", "apply etcd.0 cp2", "cp2 ready"], "its API server goes down once, not twice"
    assert acts == [("kube-apiserver.service", "stop"), (ETCD_UNIT_FILE[1], "change"), ("etcd.service", "restart"),
                    (AUTHENTICATION_CONFIG, "change"), ("kube-apiserver.service", "start")]
    assert surveyed(built).the_plan.is_empty


def test_the_leader_hands_over_before_its_restart_and_comes_last(built: World) -> None:
    edit_etcd(built, "cp1", "cp2", "cp3")
    up(built)
    assert story(built) == ["cp2 drain", "apply etcd.0 cp2", "cp2 ready", "cp3 drain", "apply etcd.1 cp3", "cp3 ready",
                            "cp1 drain", "leader cp3", "apply etcd.2 cp1", "cp1 ready"]


def test_a_leader_that_does_not_let_go_is_not_restarted(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_etcd(built, "cp1")

    def refuse(*_: Any) -> None:
        raise api.EtcdFault("etcd: moving the leadership: etcdserver: request timed out")

    monkeypatch.setattr(api, "move_leader", refuse)
    with pytest.raises(GateFailed, match=r"cp1 still leads \(etcd: .*timed out"):
        up(built)
    assert story(built) == ["cp1 drain", "cp1 ready"]


def test_a_member_that_lags_behind_is_waited_for_before_the_next(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_etcd(built, "cp2", "cp3")
    built.hosts.lag = {"cp2": 3}
    with pytest.raises(GateFailed, match=r"after etcd: .*cp2 is at raft index 4 of 7"):
        up(built)
    assert "apply etcd.1 cp3" not in story(built)


def test_without_a_quorum_the_silent_members_start_together_and_nobody_is_asked_for_leave(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_etcd(built, "cp1", "cp2")
    built.hosts.silent = {"cp1", "cp2"}
    built.hosts.broken = {f"{h}: kube-apiserver /readyz": "500" for h in ("cp1", "cp2", "cp3")}
    real = built.hosts.apply

    def apply(*args: Any, **rest: Any) -> dict[str, HostResult]:
        built.hosts.silent.clear()
        built.hosts.broken.clear()
        return real(*args, **rest)

    monkeypatch.setattr(runner, "apply", apply)
    up(built)
    assert story(built)[0] == "apply etcd.0 cp1,cp2"
    assert story(built)[1::3] == ["cp1 drain", "cp2 drain"], "their API servers follow, one after the other"


def test_members_that_only_we_cannot_ask_are_not_taken_for_a_lost_quorum(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_etcd(built, "cp1", "cp2", "cp3")

    def refuse(*_: Any, **__: Any) -> None:
        raise api.EtcdFault("etcd: asking a member for its status: tls: bad certificate")

    monkeypatch.setattr(api, "status", refuse)
    with pytest.raises(RefusedForSafety, match=r"restarting nothing: .*bad certificate"):
        up(built)
    with pytest.raises(GateFailed, match=r"before etcd: .*bad certificate"):
        built.perform(Intent(allow=(CLUSTER_ILL,)))
    assert story(built) == [], "all three would have been restarted together"


def test_members_whose_certificates_have_expired_start_together_though_they_still_have_a_quorum(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Connections of before the end go on; whoever restarts alone is refused by those that did not.
    now = time.time() + 400 * 86400
    monkeypatch.setattr(time, "time", lambda: now)

    def refuse(access: Any, **_: Any) -> Any:
        if any(step == "etcd.0" for _, step, *_ in (e for e in built.hosts.log if e[0] == "apply")):
            return built.hosts.etcd_status(access)
        raise api.EtcdFault("etcd: asking a member for its status: certificate has expired")

    monkeypatch.setattr(api, "status", refuse)
    up(built)
    assert ("apply", "etcd.0", ("cp1", "cp2", "cp3")) in built.hosts.log


def test_a_member_that_dies_while_another_is_drained_keeps_that_one_from_being_restarted(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_etcd(built, "cp2")

    real = built.hosts.ask

    def ask(one: OneHost, path: str, lines: Any, **rest: Any) -> Any:
        if any(" drain" in line for line in lines):
            built.hosts.silent = {"cp3"}
        return real(one, path, lines, **rest)

    monkeypatch.setattr(built.hosts, "ask", ask)
    with pytest.raises(GateFailed, match=r"before etcd: .*cp3: etcd: .*connection refused"):
        up(built)
    assert story(built) == ["cp2 drain", "cp2 ready"]


def test_an_api_server_that_is_down_is_repaired_before_a_member_elsewhere_is_touched(built: World) -> None:
    # What a run leaves that was killed between an API server's stop and its start: it is started first.
    edit_etcd(built, "cp1", "cp2", "cp3")
    built.hosts.hosts["cp2"].states["unit", "kube-apiserver.service"] = "inactive enabled current"
    built.hosts.broken = {"cp2: kube-apiserver /readyz": "refused"}
    with at_each_step(built, built.hosts.broken.clear):
        up(built)
    assert story(built)[:2] == ["apply etcd.0 cp2", "cp3 drain"]


def test_a_balancer_is_reloaded_only_while_all_others_and_the_vip_lead_to_the_api(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    built.hosts.hosts["cp2"].edit("/etc/haproxy/haproxy.cfg", "file sha256:by-hand 0644 root:root",
                                  unit="haproxy.service")
    built.hosts.broken = {"cp3: kube-apiserver through haproxy": "502"}
    with pytest.raises(GateFailed, match="cp3: gate before load-balancer"):
        up(built)
    built.hosts.broken = {"API at the VIP": "timed out"}
    with pytest.raises(GateFailed, match=r"gate before control-plane: .*API at the VIP"):
        up(built)
    assert story(built) == []
    built.hosts.broken = {"cp2: kube-apiserver through haproxy": "502"}       # it leads nowhere itself
    with pytest.raises(GateFailed, match="gate after control-plane"):
        up(built)
    assert story(built) == ["apply load-balancer.0 cp2"]
