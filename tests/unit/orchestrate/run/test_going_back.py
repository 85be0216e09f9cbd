"""A batch whose proof does not come is put back on its hosts, proved again, and ends the run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from provisioner.converge import runner
from provisioner.converge.results import HostResult
from provisioner.errors import GateFailed, Interrupted, KubewrightError, Unreachable
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Unit
from provisioner.operate import drain
from provisioner.orchestrate.gates import node_states
from provisioner.orchestrate.gates.gate_probes import host_probes
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import engine, upgrade
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verbs import UP
from provisioner.orchestrate.turn import apply, rotation, way_back
from provisioner.transport.hosts import OneHost
from tests.fakes.session import World
from tests.unit.compile.compile_fixture import lock
from tests.unit.orchestrate.turn.test_rotation import story

POISON = "poison"
KUBELET, APISERVER = "/var/lib/kubelet/config.yaml", "/etc/systemd/system/kube-apiserver.service"
CONFIG: dict[str, dict[str, Any]] = {KUBELET: {"kubelet": {"clusterName": POISON}},
          APISERVER: {"kube-apiserver": {"flags": {"event-ttl": POISON}}},
          "etcd": {"etcd": {"flags": {"snapshot-count": POISON}}}}


def configure(world: World, config: dict[str, Any]) -> None:
    """Give the inventory a `config:` that validates, and that no unit survives."""
    document = world.inventory.cluster.model_dump(mode="json")
    for component, fields in config.items():
        document["config"][component] = document["config"].get(component, {}) | fields
    world.inventory = replace(world.inventory, cluster=Cluster.model_validate(document))
    world.hosts.poison = POISON


def up(world: World, workers: int = 1) -> None:
    world.perform(Intent(max_unavailable=str(workers)))


def failed_up(world: World, workers: int = 1) -> GateFailed:
    with pytest.raises(GateFailed) as failed:
        up(world, workers)
    return failed.value


def failed_upgrade(patch: pytest.MonkeyPatch, world: World) -> GateFailed:
    """Fail at another minor of etcd, whose data `upgrade` alone keeps before."""
    patch.setattr(upgrade, "_keep_data", lambda session: None)
    with pytest.raises(GateFailed) as failed:
        world.perform(Intent("upgrade"))
    return failed.value


def falls_ill(patch: pytest.MonkeyPatch, world: World, host: str, when: str) -> None:
    """Let the kubelet of `host` not answer any more once a batch with `when` was carried."""
    carried = apply.apply_batch

    def apply_batch(session: Any, step: str, changes: Any) -> None:
        carried(session, step, changes)
        if when in changes:
            world.hosts.broken = {f"{host}: kubelet": "connection refused"}

    patch.setattr(apply, "apply_batch", apply_batch)


def snapshot(world: World) -> dict[str, dict[tuple[str, str], str]]:
    return {name: {k: s for k, s in h.states.items() if k[0] != "artifact"} for name, h in world.hosts.hosts.items()}


@pytest.mark.parametrize(("what", "phase", "unit", "first"), [
    (KUBELET, "node", "kubelet", "cp1"), (APISERVER, "control-plane", "kube-apiserver", "cp1"),
    ("etcd", "etcd", "etcd", "cp2")])       # cp1 leads, so it would come last
def test_the_first_host_goes_back_and_the_others_are_not_touched(
        built: World, what: str, phase: str, unit: str, first: str) -> None:
    before = snapshot(built)
    configure(built, CONFIG[what])
    failed = failed_up(built)
    assert failed.message.startswith(f"{first}: gate after ")
    assert f"{unit}.service: activating (auto-restart): exited 2 times" in failed.message
    assert snapshot(built) == before
    assert [(e[1], e[2]) for e in built.hosts.log if e[0] == "apply"] == [
        (f"{phase}.0", (first,)), (f"{phase}.0.back", (first,))]


def test_the_error_says_what_failed_what_was_put_back_and_what_is_still_fine(built: World) -> None:
    configure(built, CONFIG[KUBELET])
    failed = failed_up(built)
    assert list(failed.details) == [
        "cp1: kubelet.service said last:", "    kubelet line 0", "    systemd line 1", "    that line 2",
        f"cp1: put back as it was: {KUBELET}; kubelet started again, its gate is green 0 s after it failed",
        "still fine: cp2, cp3, w1, w2 not touched by this run; API servers ready: cp1, cp2, cp3",
        "`up` would make the same change again"]
    assert (failed.hint, failed.exit_code) == ("kubewright logs cp1 kubelet", 13)
    (told,) = [e for e in built.events if e.type == "put-back"]
    assert (told.host, told.phase, told.status) == ("cp1", "node", "ok")


def test_an_api_server_is_out_of_service_until_it_is_back(built: World) -> None:
    configure(built, CONFIG[APISERVER])
    failed_up(built)
    assert story(built) == ["cp1 drain", "apply control-plane.0 cp1", "apply control-plane.0.back cp1", "cp1 ready"]


def test_a_member_goes_back_between_its_api_server_s_stop_and_start(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(built, CONFIG["etcd"])
    acts: list[tuple[str, str]] = []
    real = type(built.hosts.hosts["cp1"]).change

    def change(host: Any, request: Any, step: str = "") -> str:
        if step.endswith(".back"):
            acts.append((request["path"].rpartition("/")[2], request["action"]))
        return real(host, request, step)

    monkeypatch.setattr(type(built.hosts.hosts["cp1"]), "change", change)
    failed_up(built)
    assert acts == [("kube-apiserver.service", "stop"), ("etcd.service", "restore"), ("etcd.service", "restart"),
                    ("kube-apiserver.service", "start")]


def test_of_workers_changed_together_only_those_that_fail_go_back(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(built, CONFIG[KUBELET])
    built.hosts.poison = ""
    falls_ill(monkeypatch, built, "w2", when="w2")
    failed = failed_up(built, workers=2)
    assert [e[1:] for e in built.hosts.log if e[0] == "apply"][-2:] == [
        ("node.3", ("w1", "w2")), ("node.3.back", ("w2",))]
    assert any(line.startswith("w2: put back") and "not proved: w2: gate after node" in line for line in failed.details)
    assert any("cp1, cp2, cp3 changed and proved" in line for line in failed.details)


def test_the_last_host_of_a_roll_goes_back_as_the_first_does(built: World) -> None:
    configure(built, CONFIG[KUBELET])
    built.hosts.poison = ""
    real = built.hosts.apply

    def apply(*args: Any, **rest: Any) -> dict[str, HostResult]:
        if args[2] == ["w2"]:
            built.hosts.broken = {"w2: kubelet": "connection refused"} if not args[1].name.endswith(".back") else {}
        return real(*args, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "apply", apply)
        failed = failed_up(built)
    assert any(line.startswith("w2: put back") and "green" in line for line in failed.details)
    assert POISON not in str(built.hosts.hosts["w2"].extras["file", KUBELET])
    assert POISON in str(built.hosts.hosts["w1"].extras["file", KUBELET])


def test_a_first_start_has_nothing_to_go_back_to(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from provisioner.orchestrate.plan.survey import create_secrets
    from tests.fakes.session import instant

    instant(monkeypatch)
    world.hosts.broken = {"kubelet": "connection refused"}
    with world.session() as session, pytest.raises(GateFailed, match="gate after node") as failed:
        survey(session)
        create_secrets(session)
        engine.run(session, UP)
    assert not [e for e in world.hosts.log if str(e[1]).endswith(".back")]
    assert failed.value.details[-1:] != ("`up` would make the same change again",)


def test_a_step_that_may_still_run_is_not_put_back(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(built, CONFIG[KUBELET])
    built.hosts.results = {"cp1": HostResult("cp1", "running", message="still running")}
    with pytest.raises(KubewrightError, match="still running"):
        up(built)
    assert [e[1] for e in built.hosts.log if e[0] == "apply"] == ["node.0"]
    assert not [e for e in built.events if e.type == "put-back"]


def test_the_gate_of_what_went_back_asks_by_the_host_s_own_list_and_counts_no_exits(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(built, CONFIG[KUBELET])
    asked: list[bool] = []

    real = built.hosts.probe

    def probe(one: OneHost, probes: Any, *rest: Any, **more: Any) -> Any:
        asked.extend(bool(p.get("listed")) for p in probes
                     if (one.name, p["name"]) == ("cp1", "kubelet.service"))
        return real(one, probes, *rest, **more)

    monkeypatch.setattr(built.hosts, "probe", probe)
    failed_up(built)
    assert asked[0] is False and asked[-1] is True
    with built.session() as session:
        survey(session)
        session.run.as_they_run.add("cp1")
        back, other = (host_probes(session, h, "controllers")[0] for h in ("cp1", "cp2"))
    assert back.get("listed") is True and not back.keys() & {"inputs", "since_restarts"}
    assert "listed" not in other and other.keys() >= {"inputs", "since_restarts"}


def test_what_a_killed_run_had_written_and_no_unit_had_read_goes_back_as_well(built: World) -> None:
    configure(built, CONFIG[KUBELET])
    before = snapshot(built)["cp1"]
    unit = Unit(path="kubelet.service", phase="node")
    with built.session() as killed:                # dies between the file and the restart
        change = next(c for c in survey(killed).of("node")["cp1"] if c.path == KUBELET)
        host = built.hosts.hosts["cp1"]
        from provisioner.converge.bundle import change_request
        host.change(change_request(change, killed.target.secrets.resolve, lambda item: (b"", b"")), "run0.node.0")
    assert host.observe(Unit(path=unit.path, phase="prepare", inputs=(KUBELET,))).state.endswith("due")
    failed = failed_up(built)
    assert any("put back as it was" in line and "green" in line for line in failed.details)
    assert snapshot(built)["cp1"] == before


def killed_before_the_way_back(world: World, unit: str) -> None:
    """Let a run die between cp1's failed gate and its way back; the unit exits and is started again and again."""
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(way_back, "_gone_back", dies)
        up(world)
    world.hosts.hosts["cp1"].states["unit", unit] = "activating enabled current"
    world.forget()


def by_hand(world: World, host: str) -> None:
    world.perform(Intent("rollback", only=(host,)))


def test_after_a_run_that_died_before_the_way_back_the_next_touches_no_other_host_and_says_how_that_one_goes_back(
        built: World) -> None:
    before = snapshot(built)
    configure(built, CONFIG[KUBELET])
    killed_before_the_way_back(built, "kubelet.service")
    left, log = snapshot(built), list(built.hosts.log)
    failed = failed_up(built)
    assert failed.message == ("gate before node: cp1: kubelet.service: activating (auto-restart): exited 2 times, it "
                              "does not stay up")
    assert any(line.endswith("kept there: kubewright rollback cp1") for line in failed.details)
    assert (snapshot(built), built.hosts.log) == (left, log)
    by_hand(built, "cp1")
    assert snapshot(built) == before


def test_a_host_that_fell_ill_meanwhile_is_named_when_another_goes_back(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(built, CONFIG[KUBELET])
    falls_ill(monkeypatch, built, "w2", when="cp1")
    failed = failed_up(built)
    assert failed.message.startswith("cp1: gate after node")
    said = [line for line in failed.details if line.startswith("w2: not well either")]
    assert len(said) == 1 and said[0].endswith("kubewright rollback w2")
    assert any(line.startswith("still fine: cp2, cp3, w1 not touched by this run;") for line in failed.details)


def test_an_api_server_that_such_a_run_left_drained_is_named_and_back_in_service_after_the_rollback(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(built)
    configure(built, CONFIG[APISERVER])
    with monkeypatch.context() as patch:
        patch.setattr(rotation._Balancers, "put_back", lambda *_: None)      # it died: nobody puts it back
        killed_before_the_way_back(built, "kube-apiserver.service")
    built.hosts.broken = {"cp1: kube-apiserver /readyz": "connection refused"}
    failed = failed_up(built)
    assert failed.message.startswith("cp1: gate before control-plane")
    assert any(line.endswith("kubewright rollback cp1") for line in failed.details)
    for balancer in built.hosts.balancers.values():
        balancer.states["cp1"] = "drain"    # as after the kill itself
    built.hosts.broken = {}
    built.forget()
    by_hand(built, "cp1")
    assert snapshot(built) == before
    assert "cp1 ready" in story(built)


def test_a_gate_of_all_hosts_together_puts_nothing_back_and_says_so_with_what_does(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(built, {"kubelet": {"kubelet": {"maxPods": 77}}})
    built.hosts.poison = ""

    def not_ready(*_: object) -> None:
        raise GateFailed("gate after network: not so after 120 s: w1: NotReady", hint="kubewright status")

    monkeypatch.setattr(node_states, "nodes_are_ready", not_ready)
    failed = failed_up(built)
    assert list(failed.details) == [
        "nothing was put back: this asks all hosts together; this run changed cp1, cp2, cp3, w1, w2",
        "if its last change is to blame, what ran before it is kept there: kubewright rollback HOST"]
    assert failed.hint.startswith("kubewright status")


def test_of_workers_changed_together_one_that_falls_silent_does_not_keep_the_other_from_going_back(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(built, CONFIG[KUBELET])
    built.hosts.poison = ""
    falls_ill(monkeypatch, built, "w2", when="w2")

    real = built.hosts.probe

    def probe(one: OneHost, *rest: Any, **more: Any) -> Any:
        if one.name == "w1" and any(e[1] == "node.3" for e in built.hosts.log if e[0] == "apply"):
            raise Unreachable("w1: connecting: no route")
        return real(one, *rest, **more)

    monkeypatch.setattr(built.hosts, "probe", probe)
    failed = failed_up(built, workers=2)
    assert failed.exit_code == 13
    assert [e[1:] for e in built.hosts.log if e[0] == "apply"][-1] == ("node.3.back", ("w2",))


def test_where_nothing_is_put_back_nobody_is_told_that_the_change_comes_again(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built.hosts, "kept", lambda *_: [])
    configure(built, CONFIG["etcd"])
    failed = failed_up(built)
    assert any("not put back" in line for line in failed.details)
    assert "`up` would make the same change again" not in failed.details
    assert [(e.host, e.phase) for e in built.events if e.type == "put-back"] == [("cp2", "etcd")]


def test_what_the_host_does_not_tell_is_not_put_back_and_the_error_says_so(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(*_: object) -> None:
        raise KubewrightError("cp1: applier kept: exit 1: disk full")

    monkeypatch.setattr(built.hosts, "kept", kept)
    configure(built, CONFIG[KUBELET])
    assert "cp1: not put back: applier kept: exit 1: disk full" in failed_up(built).details


def test_the_same_change_is_planned_again_and_a_mended_inventory_has_nothing_to_do(built: World) -> None:
    inventory = built.inventory
    configure(built, CONFIG[KUBELET])
    failed_up(built)
    with built.session() as session:
        assert {c.path for c in survey(session).of("node")["cp1"]} == {KUBELET, "kubelet.service"}
    built.inventory = inventory
    with built.session() as session:
        assert survey(session).changes == ()


def test_a_host_that_an_earlier_run_left_broken_stops_the_next_before_it_touches_another(built: World) -> None:
    configure(built, CONFIG[KUBELET])
    built.hosts.poison = ""
    up(built)                                       # w2 alone does not bear it, and no plan names it any more
    before = snapshot(built)
    for name in ("cp1", "w1"):
        built.hosts.hosts[name].edit(KUBELET, "file sha256:by-hand 0600 root:root", "x: 1\n", unit="kubelet.service")
    edited = snapshot(built)
    built.hosts.broken = {"w2: kubelet": "connection refused"}
    log = len(built.hosts.log)
    failed = failed_up(built)
    assert failed.message == "gate before node: w2: kubelet: connection refused"
    assert list(failed.details) == [
        "no host that serves was changed in this phase",
        "if its last change is to blame, what ran before it is kept there: kubewright rollback w2",
        "or do without: kubewright up --without w2"]
    assert (snapshot(built), built.hosts.log[log:]) == (edited, [])
    built.hosts.broken = {}
    up(built)
    assert snapshot(built) == before


def edited_on(world: World, *names: str) -> None:
    """Let the kubelet of these hosts run with a file that a hand has edited."""
    for name in names:
        world.hosts.hosts[name].edit(KUBELET, "file sha256:by-hand 0600 root:root", "x: 1\n", unit="kubelet.service")


def test_a_host_that_is_ill_itself_is_repaired_first_and_with_nothing_asked_of_the_others(built: World) -> None:
    edited_on(built, "cp1", "w2")
    built.hosts.broken = {"w2: kubelet": "connection refused", "cp3: kubelet": "connection refused"}
    failed = failed_up(built)
    assert failed.message.startswith("w2: gate after node"), "it was restarted, though cp3 is ill too, and is ill still"
    assert next(entry[2] for entry in built.hosts.log if entry[0] == "apply") == ("w2",)
    built.hosts.broken = {"cp3: kubelet": "connection refused"}
    edited_on(built, "w2")
    failed = failed_up(built)
    assert failed.message == "gate before node: cp3: kubelet: connection refused"
    assert not any("--without" in line for line in failed.details), "a control plane cannot be left out"


def test_going_back_by_hand_is_not_held_up_by_another_host_that_is_ill(built: World) -> None:
    before = snapshot(built)
    configure(built, CONFIG[KUBELET])
    killed_before_the_way_back(built, "kubelet.service")
    built.hosts.broken = {"w2: kubelet": "connection refused"}
    by_hand(built, "cp1")
    assert snapshot(built) == before


def test_an_ill_host_that_is_left_out_holds_up_nobody(built: World) -> None:
    edited_on(built, "w1")
    built.hosts.broken = {"w2: kubelet": "connection refused"}
    built.perform(Intent(without=("w2",)))
    assert built.hosts.log == [("apply", "node.0", ("w1",))]


def test_a_haproxy_that_is_ill_keeps_the_others_from_being_reloaded(built: World) -> None:
    config = "/etc/haproxy/haproxy.cfg"
    built.hosts.hosts["w1"].edit(config, "file sha256:by-hand 0640 root:haproxy", "x\n", unit="haproxy.service")
    built.hosts.broken = {"w2: haproxy": "connection refused"}
    failed = failed_up(built)
    assert failed.message == "gate before load-balancer: w2: haproxy: connection refused"
    assert built.hosts.log == []


def test_after_a_new_minor_of_etcd_an_api_server_that_does_not_come_up_goes_back_alone(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(built, CONFIG[APISERVER])
    built.hosts.lock = lock(etcd="3.7.1")
    failed = failed_upgrade(monkeypatch, built)
    assert failed.message.startswith("cp1: gate after control-plane")
    assert [(e[1], e[2]) for e in built.hosts.log if e[0] == "apply" and not e[1].startswith("etcd.")] == [
        ("control-plane.0", ("cp1",)), ("control-plane.0.back", ("cp1",))]
    assert "cp1: put back as it was" in "\n".join(failed.details)
    links = [state for host in built.hosts.hosts.values() for (_, path), state in host.states.items()
             if path == "/usr/local/bin/etcd"]
    assert len(links) == 3 and all("/etcd/3.7.1-" in state for state in links), "the members stay as they are"


def test_the_first_member_of_a_new_minor_that_does_not_come_up_goes_back(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(built, CONFIG["etcd"])
    built.hosts.lock = lock(etcd="3.7.1")
    failed = failed_upgrade(monkeypatch, built)
    assert [(e[1], e[2]) for e in built.hosts.log if e[0] == "apply"] == [
        ("etcd.0", ("cp2",)), ("etcd.0.back", ("cp2",))]
    assert "cp2: put back as it was" in "\n".join(failed.details)


def test_a_node_that_such_a_run_left_cordoned_takes_pods_again_whatever_goes_back(built: World) -> None:
    configure(built, CONFIG[APISERVER])
    killed_before_the_way_back(built, "kube-apiserver.service")
    drain.cordon(built.kube(), "w2", "upgrade by somebody")
    by_hand(built, "cp1")
    assert not drain.is_cordoned(built.api.objects["/api/v1/nodes/w2"])
