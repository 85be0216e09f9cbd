"""Packet rules and routes that others flushed are put back by `up`: the unit that wrote them is started anew."""

from __future__ import annotations

import pytest

from provisioner.model.plan import Plan
from provisioner.orchestrate.gates import lapsed
from provisioner.orchestrate.gates.gate_probes import lasting_probes
from provisioner.orchestrate.look import status
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import engine
from provisioner.orchestrate.run.verbs import UP
from provisioner.transport.hosts import OneHost
from tests.fakes.api import node
from tests.fakes.session import World

PROXY, FLANNEL = "kube-proxy.service", "flanneld.service"


def planned(world: World) -> Plan:
    with world.session() as session:
        return survey(session)


def restarts(plan: Plan) -> list[tuple[str, str, str, str]]:
    return [(c.host, c.path, c.action, c.reason) for c in plan.changes]


@pytest.mark.parametrize(("probe", "unit", "reason"), [
    ("packet rules of kube-proxy", PROXY, "its packet rules are gone"),
    ("packet rules of flanneld", FLANNEL, "its packet rules are gone"),
    ("Pod network", FLANNEL, "its routes to other nodes are gone")])
def test_what_was_flushed_on_a_node_is_a_restart_in_the_plan_with_its_reason(
        built: World, probe: str, unit: str, reason: str) -> None:
    assert restarts(planned(built)) == []
    built.hosts.hosts["w1"].extras["unit", unit] = {"invocation_id": "i1"}
    built.hosts.broken = {f"w1: {probe}": "gone"}
    plan = planned(built)
    assert restarts(plan) == [("w1", unit, "restart", reason)]
    assert [c.invocation for c in plan.changes] == ["i1"], "one that was started since is let be"
    assert not plan.is_empty


def test_up_starts_the_unit_anew_and_proves_that_the_rules_are_there(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    built.hosts.broken = {"w1: packet rules of kube-proxy": "ip kube-proxy services is gone"}
    (line,) = status.look(built.session()).attention
    assert line == "w1: packet rules of kube-proxy: ip kube-proxy services is gone: kubewright up"
    with built.session() as session:
        survey(session)
        real = built.hosts.apply

        def apply(*args: object, **more: object) -> object:
            built.hosts.broken = {}
            return real(*args, **more)      # type: ignore[arg-type]

        monkeypatch.setattr("provisioner.converge.runner.apply", apply)
        engine.run(session, UP)
    assert next(entry for entry in built.hosts.log if entry[0] == "apply") == ("apply", "node.0", ("w1",))
    assert status.look(built.session()).healthy


def test_a_unit_that_does_not_run_or_restarts_anyway_is_not_blamed_twice(built: World) -> None:
    built.hosts.broken = {"w1: packet rules of kube-proxy": "gone"}
    built.hosts.hosts["w1"].states["unit", PROXY] = "failed enabled current"
    assert [c[1:3] for c in restarts(planned(built))] == [(PROXY, "start")]


def test_to_a_node_that_says_nothing_yet_there_need_be_no_way(built: World) -> None:
    built.api.put("/api/v1/nodes/w2", node("w2", ready=False) | {"metadata": {"name": "w2"}})
    with built.session() as session:
        survey(session)
        probes = lasting_probes(session, "w1", ["cp1", "cp2", "cp3", "w1"])
        (ways,) = [p for p in probes[FLANNEL] if p["kind"] == "ways"]
        assert list(ways["peers"]) == ["cp1", "cp2", "cp3"]
        assert [p["kind"] for p in lasting_probes(session, "w1", [])[FLANNEL]] == ["rules"]


def test_a_host_that_cannot_be_asked_has_lost_nothing(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from provisioner.errors import Unreachable
    
    with built.session() as session:
        survey(session)

        def silent(one: OneHost, probes: object, deadline: float) -> None:
            raise Unreachable(f"{one.name}: no answer")

        monkeypatch.setattr(built.hosts, "probe", silent)
        assert lapsed.reasons(session, []) == {}
