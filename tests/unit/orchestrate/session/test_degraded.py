"""A host that fails does not stop the others where that is safe; and what is left out is left out whole."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.converge import runner
from provisioner.converge.results import HostResult
from provisioner.errors import GateFailed, KubewrightError, RefusedForSafety, Unreachable, UsageFault
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import engine
from provisioner.orchestrate.run.options import SOAK, Intent
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import reattach
from tests.fakes.session import World, instant

KUBELET = "/var/lib/kubelet/config.yaml"
PLAIN = Intent()
EVERYONE = ("cp1", "cp2", "cp3", "w1", "w2")


def edited(world: World, *hosts: str) -> None:
    for host in hosts:
        world.hosts.hosts[host].edit(KUBELET, "file sha256:by-hand 0600 root:root", "podPidsLimit: 5\n",
                                     unit="kubelet.service")


def up(world: World, intent: Intent = PLAIN) -> None:
    world.perform(intent)


def applied(world: World) -> list[tuple[str, tuple[str, ...]]]:
    return [entry[1:] for entry in world.hosts.log if entry[0] == "apply"]


def failing(world: World, host: str, status: Any = "failed") -> None:
    world.hosts.results[host] = HostResult(host, status, message="broke")


@pytest.mark.parametrize(("status", "code"), [("unreachable", 12), ("failed", 13), ("stale", 16), ("fenced", 14)])
def test_whoever_ends_a_run_that_had_begun_the_hint_goes_on_with_it(built: World, status: str, code: int) -> None:
    edited(built, "cp1")
    failing(built, "cp1", status)
    with pytest.raises(KubewrightError) as fault:
        up(built)
    told = (built.events[-1].data or {})["error"]["hint"]
    assert (fault.value.exit_code, fault.value.hint, told) == (code, "kubewright resume run2", "kubewright resume run2")


def test_what_looks_into_a_gate_comes_before_what_goes_on(built: World) -> None:
    with built.session() as session:
        survey(session)
        edited(built, "cp1")
        survey(session)

        def late(_: Session) -> str:
            raise GateFailed("cp1: gate after node: not so", hint="kubewright logs cp1 kubelet")

        with pytest.raises(GateFailed) as fault:
            engine.run(session, [Phase("node", "", late)])
    assert fault.value.hint == f"kubewright logs cp1 kubelet, then kubewright resume {session.run.id}"


def test_a_worker_that_fails_is_set_aside_and_the_others_are_done(built: World) -> None:
    edited(built, "w1", "w2")
    failing(built, "w1")
    with pytest.raises(GateFailed) as fault:
        up(built)
    assert applied(built) == [("node.0", ("w1",)), ("node.1", ("w2",))]
    assert (fault.value.exit_code, fault.value.hint) == (13, "kubewright retry --host w1")
    assert "the run went on without: the other 4 hosts are done" in fault.value.details
    assert [e.host for e in built.events if e.type == "set-aside"] == ["w1"]
    assert [e.phase for e in built.events if e.type == "phase-done"][-1] == "verify"
    assert built.events[-1].status == "failed"


def test_more_workers_than_may_be_missed_stop_the_run(built: World) -> None:
    edited(built, "cp1", "w1", "w2")
    for host in ("w1", "w2"):
        failing(built, host)
    with pytest.raises(GateFailed):
        up(built)
    assert [e.host for e in built.events if e.type == "set-aside"] == ["w1"]
    assert built.events[-1].phase == "node"


def test_a_control_plane_that_fails_stops_the_run_and_the_next_is_not_touched(built: World) -> None:
    edited(built, "cp1", "cp2", "w1")
    failing(built, "cp1")
    with pytest.raises(GateFailed):
        up(built)
    assert applied(built) == [("node.0", ("cp1",))]


def test_on_a_live_cluster_a_failed_proof_stops_the_run_also_on_a_worker(built: World) -> None:
    edited(built, "w1", "w2")
    built.hosts.broken = {"w1: kubelet": "connection refused"}
    with pytest.raises(GateFailed, match="gate after node"):
        up(built)
    assert applied(built)[0] == ("node.0", ("w1",))
    assert not any("w2" in hosts for _, hosts in applied(built)) and not built.session().run.failed


def test_while_a_cluster_is_built_a_worker_may_fail_its_proof(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    world.hosts.broken = {"w2: kubelet": "connection refused"}
    with pytest.raises(GateFailed) as fault:
        up(world)
    assert fault.value.hint == "kubewright retry --host w2"
    started = [host for step, hosts in applied(world) if step in ("controllers.0", "join.0") for host in hosts]
    assert sorted(started) == sorted(EVERYONE), "the Pod network goes with it"
    assert {h for h, names in world.hosts.probed if "flanneld.service" in names} == set(EVERYONE[:4])
    assert not world.inventory.applied_path.exists(), "the cluster is not all that the inventory says"


def test_a_host_that_is_left_out_is_neither_asked_nor_changed_nor_proved(built: World) -> None:
    edited(built, "w1")
    built.hosts.hosts["w2"].down = True
    up(built, Intent(without=("w2",)))
    assert applied(built) == [("node.0", ("w1",))]
    assert "w2" not in {host for host, _ in built.hosts.probed}


def test_only_workers_can_be_left_out(built: World) -> None:
    with pytest.raises(RefusedForSafety) as refused:
        up(built, Intent(without=("cp1",)))
    assert refused.value.code == "host-needed"
    with pytest.raises(UsageFault, match="w9"):
        up(built, Intent(without=("w9",)))


def test_a_worker_that_does_not_answer_is_refused_with_the_way_to_go_on(built: World) -> None:
    built.hosts.hosts["w2"].down = True
    with pytest.raises(Unreachable) as fault:
        up(built)
    assert fault.value.details[-2:] == ("nothing was changed on any host",
                                        "to go on without: kubewright up --without w2")
    built.hosts.hosts["cp1"].down = True
    with pytest.raises(Unreachable) as fault:
        up(built)
    assert not any("--without" in line for line in fault.value.details)
    assert fault.value.details[-1] == "nothing was changed on any host"


@pytest.mark.parametrize(("intent", "command"), [
    (Intent("upgrade", soak=0.0), "kubewright upgrade --no-soak"),
    (Intent("upgrade --os", reboot=True), "kubewright upgrade --os --reboot"),
    (Intent("upgrade --back"), "kubewright upgrade --back"),
])
def test_an_upgrade_is_gone_on_with_by_its_own_command(built: World, intent: Intent, command: str) -> None:
    built.hosts.hosts["w2"].down = True
    with pytest.raises(Unreachable) as fault:
        built.perform(intent)
    assert f"to go on without: {command} --without w2" in fault.value.details


def test_retry_makes_only_that_hosts_changes_and_records_nothing(built: World) -> None:
    edited(built, "w1", "w2")
    before = built.inventory.applied_path.stat().st_mtime_ns
    up(built, Intent("retry", only=("w2",)))
    assert applied(built) == [("node.0", ("w2",))]
    with built.session() as session:
        assert {c.host for c in survey(session).changes} == {"w1"}
    assert built.inventory.applied_path.stat().st_mtime_ns == before


def test_retry_founds_no_cluster(world: World) -> None:
    with pytest.raises(RefusedForSafety) as refused:
        up(world, Intent("retry", only=("cp1",)))
    assert refused.value.code == "no-cluster" and world.hosts.log == []


def test_a_run_that_begins_at_a_phase_proves_the_earlier_ones_and_changes_nothing_of_them(built: World) -> None:
    edited(built, "w1")
    host = built.hosts.hosts["cp1"]
    host.edit("/etc/haproxy/haproxy.cfg", "file sha256:by-hand 0644 root:root", unit="haproxy.service")
    up(built, Intent(start="node"))
    assert [step for step, _ in applied(built)] == ["node.0"]
    assert any("haproxy.service" in names for _, names in built.hosts.probed)


def test_names_that_do_not_exist_are_refused_with_those_that_do(built: World) -> None:
    with pytest.raises(UsageFault, match="no such phase") as phase:
        Intent(start="nodes").fits(built.inventory.cluster)
    assert "load-balancer" in phase.value.details[0]
    with pytest.raises(UsageFault, match="w9"):
        Intent(only=("w9",)).fits(built.inventory.cluster)


def test_what_was_asked_for_comes_back_as_it_was_but_for_a_saved_plan() -> None:
    asked = Intent("up", ("clock",), ("r",), "25%", ("gap=1s",), ("w1",), "node", ("w2",))
    assert Intent.of(asked.to_json(), "up") == asked
    assert Intent.of({"of-a-later-version": 1}, "resume") == Intent("resume")
    assert Intent.of({"only": ["w1"]}, "upgrade") == Intent("upgrade", only=("w1",), soak=SOAK), "of an earlier one"
    assert Intent.of(Intent("upgrade").to_json(), "upgrade").soak == 0.0, "--no-soak"


def test_a_step_whose_connection_was_lost_is_carried_again_with_the_same_id(built: World,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    edited(built, "cp1")
    real, sent = built.hosts.apply, []

    def apply(inventory: object, directory: Any, hosts: Any, **rest: Any) -> dict[str, HostResult]:
        sent.append((directory / "cp1.json").read_text())
        found = real(inventory, directory, hosts, **rest)
        return {h: HostResult(h, "unreachable", message="lost") for h in hosts} if len(sent) == 1 else found

    monkeypatch.setattr(runner, "apply", apply)
    up(built)
    assert len(sent) == 2 and sent[0] == sent[1]


def test_a_host_that_stays_away_is_waited_for_once_and_then_its_step_has_failed(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    edited(built, "cp1")

    def apply(inventory: object, directory: Any, hosts: Any, **rest: Any) -> dict[str, HostResult]:
        built.hosts.hosts["cp1"].down = True
        built.hosts.log.append(("apply", directory.name, tuple(hosts)))
        return {h: HostResult(h, "unreachable", message="lost") for h in hosts}

    monkeypatch.setattr(runner, "apply", apply)
    with pytest.raises(Unreachable, match="cp1: applying: lost"):
        up(built)
    assert applied(built) == [("node.0", ("cp1",))]
    assert reattach.AGAIN > 60, "a minute's cut is outlived"
