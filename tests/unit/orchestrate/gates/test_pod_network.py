"""A Pod network that people bring themselves, and packets that rules of others keep from their way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import GateFailed
from provisioner.operate.kube import object_path
from provisioner.orchestrate.gates.gate_probes import node_probes
from provisioner.orchestrate.phases import objects
from provisioner.orchestrate.phases.verify import cluster_is_healthy, prove_and_record
from provisioner.orchestrate.plan.survey import create_secrets, survey
from provisioner.orchestrate.run import engine
from provisioner.orchestrate.run.verbs import UP
from tests.fakes import session as fakes
from tests.fakes.api import node
from tests.fakes.one_host import ROOM
from tests.fakes.session import World, instant

NODES = ("cp1", "cp2", "cp3", "w1", "w2")
BARE = ("container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
        "message:Network plugin returns error: cni plugin not initialized")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose Pod network is left to others, after its first `up`: no node is Ready, no addon available."""
    instant(monkeypatch)
    monkeypatch.setattr(fakes, "registered", lambda name, settings: waiting(name))
    world = World.make(tmp_path, monkeypatch, network={"hosts": ["10.77.0.0/24"], "plugin": "none"})
    with world.session() as session:
        survey(session)
        create_secrets(session)
        engine.run(session, UP)
    assert session.target.waits_for_cni == NODES
    return world


def waiting(name: str, message: str = BARE) -> dict:
    seen = node(name, ready=False)
    seen["status"]["conditions"][0]["message"] = message
    return seen


def test_up_without_a_pod_network_ends_well_and_says_which_nodes_wait(own: World) -> None:
    session = own.session()
    survey(session)
    assert not session.the_plan.changes, "the first run wrote down what the cluster was made from"
    assert not session.the_plan.objects, "and labelled the nodes"
    unavailable(own, session)
    objects.addons_are_available(session)
    prove_and_record(session)
    assert session.target.waits_for_cni == NODES
    assert [p["name"] for p in node_probes(session, "w1")] == ["Service address of the API"]


def unavailable(world: World, session: Any) -> None:
    for path in (object_path(o.body) for o in session.the_plan.desired.objects if o.body["kind"] == "Deployment"):
        world.api.objects[path]["status"]["availableReplicas"] = 0


def test_once_a_node_has_a_network_the_addons_are_proved(own: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    for name in NODES:
        own.api.put(f"/api/v1/nodes/{name}", node(name))
    session = own.session()
    survey(session)
    objects.addons_are_available(session)
    cluster_is_healthy(session)
    assert session.target.waits_for_cni == ()
    assert all("cluster DNS" in names for _, names in own.hosts.probed[-5:])
    unavailable(own, session)
    with pytest.raises(GateFailed, match="0 of 2 replicas available"):
        objects.addons_are_available(session)


def test_a_node_that_is_not_ready_for_another_reason_is_waited_for(
        own: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    own.api.put("/api/v1/nodes/w1", waiting("w1", "Kubelet stopped posting node status."))
    session = own.session()
    survey(session)
    with pytest.raises(GateFailed, match="w1: kubelet: Kubelet stopped posting node status"):
        prove_and_record(session)


def test_with_a_network_of_ours_a_node_without_one_is_a_fault(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    session = built.session()
    survey(session)
    built.api.put("/api/v1/nodes/w1", waiting("w1"))
    with pytest.raises(GateFailed, match="w1: kubelet: container runtime network not ready"):
        cluster_is_healthy(session)
    assert session.target.waits_for_cni == ()


def test_a_gate_that_waits_for_names_tells_whose_rules_are_in_the_way(built: World) -> None:
    session = built.session()
    survey(session)
    built.hosts.broken = {"w1: cluster DNS": "timed out"}
    built.hosts.inspections = {
        "w1": replace(ROOM, services_of_others=("nat KUBE-SERVICES",)),
        "w2": replace(ROOM, forward_drops=("ip filter FORWARD (policy drop)",)),
        "cp1": replace(ROOM, forward_drops=("ip filter FORWARD (policy drop)",))}
    with pytest.raises(GateFailed) as caught:
        cluster_is_healthy(session)
    assert "cluster DNS: timed out" in caught.value.message
    assert "cp1, w2: what is forwarded for Pods is dropped by ip filter FORWARD (policy drop)" in caught.value.details
    assert ("w1: rules of another kube-proxy in iptables' nat KUBE-SERVICES catch what is for Services"
            in caught.value.details)


def test_an_addon_that_does_not_come_tells_its_last_words_and_how_to_see_more(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    session = built.session()
    survey(session)
    unavailable(built, session)
    built.api.put("/api/v1/namespaces/kube-system/pods/coredns-a", {
        "metadata": {"name": "coredns-a", "labels": {"k8s-app": "kube-dns"}}, "spec": {"nodeName": "w1"},
        "status": {"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {
            "terminated": {"message": "[FATAL] plugin/loop: Loop detected for zone \".\""}}}]}})
    built.hosts.inspections = {"w2": replace(ROOM, forward_drops=("ip filter FORWARD (policy drop)",))}
    with pytest.raises(GateFailed) as caught:
        objects.addons_are_available(session)
    assert caught.value.details == (
        'coredns-a on w1: CrashLoopBackOff: [FATAL] plugin/loop: Loop detected for zone "."',
        "w2: what is forwarded for Pods is dropped by ip filter FORWARD (policy drop)")
    assert caught.value.hint == ("on cp1: kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system "
                                 "describe pods -l k8s-app=kube-dns")
