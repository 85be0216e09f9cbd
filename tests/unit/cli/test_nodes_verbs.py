"""Labels, taints, the role `worker` and Nodes that are gone, as people meet them, on hosts in memory."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.orchestrate.plan.survey import survey
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, run, world  # noqa: F401 - fixtures
from tests.unit.cli.test_plan_verbs import Change, change, pinned  # noqa: F401 - fixtures

NODES = "/api/v1/nodes/"
TAINT = {"key": "example.org/dedicated", "value": "db", "effect": "NoExecute"}
CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def started(world: World) -> dict[str, int]:  # noqa: F811
    return {name: host.starts.get("kubelet.service", 0) for name, host in world.hosts.hosts.items()}


def test_labels_and_taints_reach_nodes_that_live_both_ways_and_no_kubelet_restarts(
        built: World, run: Run, change: Change) -> None:  # noqa: F811
    before, w1 = started(built), built.api.objects[NODES + "w1"]
    w1["metadata"]["labels"]["rack"], w1["spec"]["taints"] = "r7", [{"key": "theirs", "effect": "NoSchedule"}]
    change({"hosts.w1.labels": {"example.org/disk": "ssd"}, "hosts.w1.taints": [TAINT],
            "hosts.cp1.roles": ["etcd", "control-plane", "load-balancer", "worker"]})
    told = run("plan").out
    assert "Node w1" in told and "+label example.org/disk=ssd, +taint example.org/dedicated=db:NoExecute" in told
    assert "-taint node-role.kubernetes.io/control-plane:NoSchedule" in told
    assert "Pods on w1 that do not tolerate example.org/dedicated=db:NoExecute are evicted" in told
    assert "nothing that runs is restarted" in told and "restarts: " not in told
    assert run("up", "--yes").code == 0
    w1, cp1 = (built.api.objects[NODES + name] for name in ("w1", "cp1"))
    assert w1["metadata"]["labels"]["example.org/disk"] == "ssd" and TAINT in w1["spec"]["taints"]
    assert cp1["spec"]["taints"] == [] and "node-role.kubernetes.io/worker" in cp1["metadata"]["labels"]
    assert "No changes" in run("plan").out

    change({"hosts.w1.labels": None, "hosts.w1.taints": None,
            "hosts.cp1.roles": ["etcd", "control-plane", "load-balancer"]})
    assert run("up", "--yes").code == 0
    w1, cp1 = (built.api.objects[NODES + name] for name in ("w1", "cp1"))
    assert w1["metadata"]["labels"] == {"node-role.kubernetes.io/worker": "", "rack": "r7"}
    assert w1["spec"]["taints"] == [{"key": "theirs", "effect": "NoSchedule"}]
    assert cp1["spec"]["taints"] == [CONTROL_PLANE]
    assert "node-role.kubernetes.io/worker" not in cp1["metadata"]["labels"]
    assert "No changes" in run("plan").out
    assert started(built) == before


def test_a_label_of_ours_that_somebody_took_off_is_in_the_plan(built: World, run: Run, change: Change) -> None:  # noqa: F811
    change({"hosts.w1.labels": {"disk": "ssd"}})
    assert run("up", "--yes").code == 0
    del built.api.objects[NODES + "w1"]["metadata"]["labels"]["disk"]
    assert "+label disk=ssd" in run("plan").out


@pytest.mark.parametrize("unit", ["kubelet.service", "flanneld.service"])
def test_a_deleted_node_comes_back_by_up_with_its_labels_and_taints(
        built: World, run: Run, change: Change, unit: str) -> None:  # noqa: F811
    change({"hosts.w2.labels": {"disk": "ssd"}, "hosts.w2.taints": [TAINT]})
    assert run("up", "--yes").code == 0
    before, running = started(built), built.hosts.hosts["w2"].starts[unit]
    del built.api.objects[NODES + "w2"]
    told = run("plan").out
    assert f"unit {unit}" in told and "restarts: its Node is gone" in told and "on w2" in told
    assert run("up", "--yes").code == 0
    assert started(built) == before | {"w2": before["w2"] + 1}
    assert built.hosts.hosts["w2"].starts[unit] == running + 1
    w2 = built.api.objects[NODES + "w2"]
    assert w2["metadata"]["labels"] == {"disk": "ssd", "node-role.kubernetes.io/worker": ""}
    assert w2["spec"]["taints"] == [TAINT]
    assert "No changes" in run("plan").out


def test_a_node_that_lost_the_way_to_its_pods_gets_it_from_flannel_alone(built: World, run: Run) -> None:  # noqa: F811
    del built.api.objects[NODES + "w2"]["metadata"]["annotations"]
    told = run("plan").out
    assert "restarts: its Node does not say how its Pods are reached" in told and "unit kubelet.service" not in told


def test_nothing_is_restarted_for_a_node_while_the_api_cannot_be_asked(built: World, run: Run) -> None:  # noqa: F811
    del built.api.objects[NODES + "w2"]
    built.api.refuse = 503
    with built.session(run=False) as session:
        assert [c for c in survey(session).changes if c.kind == "unit"] == []


def test_a_worker_that_is_none_any_more_loses_what_the_role_ran_and_its_node_where_that_is_allowed(
        built: World, run: Run, change: Change) -> None:  # noqa: F811
    change({"hosts.w1.roles": []})
    refused: Any = run("up", "--yes")
    assert refused.code == 15 and "--allow role-removed" in refused.err
    planned: Any = run("plan")
    assert planned.code == 0 and "kubelet.service" in planned.out and "- Node w1" in planned.out
    done: Any = run("up", "--yes", "--allow", "role-removed")
    assert done.code == 0, done.err
    w1 = built.hosts.hosts["w1"]
    assert not [path for kind, path in w1.states if kind == "unit"]
    assert NODES + "w1" not in built.api.objects
    assert "No changes." in run("plan").out


def test_a_run_that_was_killed_before_the_node_went_is_ended_by_the_next(
        built: World, run: Run, change: Change) -> None:  # noqa: F811
    node = dict(built.api.objects[NODES + "w1"])
    change({"hosts.w1.roles": []})
    assert run("up", "--yes", "--allow", "role-removed").code == 0
    built.api.put(NODES + "w1", node)
    assert "- Node w1" in run("plan").out
    assert run("up", "--yes").code == 0
    assert NODES + "w1" not in built.api.objects
    built.api.put(NODES + "theirs", node | {"metadata": {"name": "theirs"}})
    assert "No changes." in run("plan").out


def test_a_load_balancer_that_is_none_any_more_gives_up_the_vip_before_its_peers_change(
        built: World, run: Run, change: Change) -> None:  # noqa: F811
    change({"hosts.cp1.roles": ["etcd", "control-plane"]})
    built.forget()
    done: Any = run("up", "--yes", "--allow", "role-removed")
    assert done.code == 0, done.err
    turns = [entry[2] for entry in built.hosts.log if entry[0] == "apply" and entry[1].startswith("load-balancer.")]
    assert turns[0] == ("cp1",) and {host for hosts in turns[1:] for host in hosts} == {"cp2", "cp3"}
    assert ("file", "/etc/keepalived/keepalived.conf") not in built.hosts.hosts["cp1"].states
    assert "No changes." in run("plan").out


def test_a_reset_that_only_has_a_node_to_delete_shows_it_and_asks_too(built: World, run: Run) -> None:  # noqa: F811
    node = dict(built.api.objects[NODES + "w1"])
    assert run("reset", "w1", "--yes").code == 0
    built.api.put(NODES + "w1", node)
    asked = run("reset", "w1")
    assert asked.code == 15 and "nobody is there to ask" in asked.err
    assert "Node w1" in asked.err and "1 removal on 1 host" in asked.err
    assert NODES + "w1" in built.api.objects
    assert run("reset", "w1", "--yes").code == 0
    assert NODES + "w1" not in built.api.objects
