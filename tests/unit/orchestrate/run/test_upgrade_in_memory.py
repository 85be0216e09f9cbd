"""`upgrade`: the turns of another version, a Node drained while its kubelet changes its minor, and what stops it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import GateFailed, Interrupted, RefusedForSafety, UsageFault
from provisioner.model.cluster import Cluster
from provisioner.model.events import Event
from provisioner.model.plan import NEEDS_FLAG
from provisioner.model.releases import MINORS
from provisioner.operate import drain
from provisioner.orchestrate.run import upgrade
from provisioner.orchestrate.run.look_ahead import look_ahead
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.perform import Performed
from provisioner.orchestrate.run.verbs import VERBS
from provisioner.orchestrate.turn import apply
from provisioner.report.plan_text import plan_text
from tests.fakes.session import World, at_each_step
from tests.unit.compile.compile_fixture import lock

FROM, TO = "1.36.3", "1.37.2"
PLANES, WORKERS = ("cp1", "cp2", "cp3"), ("w1", "w2")
OLD_API = ('apiserver_requested_deprecated_apis{group="scheduling.k8s.io",removed_release="1.37",'
           'resource="workloads",subresource="",version="v1alpha1"} 1\n')


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many steps hosts had been handed whenever a snapshot was taken."""
    taken: list[int] = []
    monkeypatch.setattr(upgrade, "_keep_data", lambda session: taken.append(len(session.run.written)))
    return taken


@pytest.fixture
def old(built: World, kept: list[int], monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster of the older version whose inventory names the newer."""
    monkeypatch.setitem(MINORS, "1.37", MINORS["1.36"])
    ask_for(built, TO, etcd="3.7.1", containerd="2.4.3")
    return built


def ask_for(world: World, version: str, **beside: str) -> None:
    document = world.inventory.cluster.model_dump(mode="json") | {"kubernetes": version}
    world.inventory = replace(world.inventory, cluster=Cluster.model_validate(document))
    world.hosts.lock = lock(kubernetes=version, **beside)


def up_grade(world: World, **options: Any) -> Performed:
    return world.perform(Intent("upgrade", **options))


def story(events: list[Event]) -> list[str]:
    """Return what happened, in order: each step with its hosts, and each Node that was drained."""
    found: list[str] = []
    for event in events:
        rows = (event.data or {}).get("objects", ()) if event.type == "changed" else ()
        found += [f"drain {row['identity'].removeprefix('Node ')}" for row in rows if "is drained" in row["reason"]]
        if event.type != "host-start":
            continue
        if event.data and event.data.get("step"):
            found.append(f"{event.data['step']} {event.host}")
    return found


def cordoned(world: World) -> list[str]:
    return [path.rpartition("/")[2] for path, node in world.api.objects.items()
            if path.startswith("/api/v1/nodes/") and node.get("spec", {}).get("unschedulable")]


def versions(world: World, name: str) -> dict[str, str]:
    links = {host: one.file(f"/usr/local/bin/{name}") for host, one in world.hosts.hosts.items()}
    return {host: link.split("/")[4].partition("-")[0] for host, link in links.items() if link.startswith("link ")}


def test_members_then_api_servers_then_controllers_then_each_node_drained(old: World, kept: list[int]) -> None:
    up_grade(old)
    steps = [line for line in story(old.events) if not line.startswith(("pki", "stage", "prepare", "verify"))]
    by_phase = [line.partition(".")[0] for line in steps if not line.startswith("drain")]
    assert by_phase == ["etcd"] * 3 + ["control-plane"] * 3 + ["controllers"] * 3 + ["node"] * 5
    each = [(f"drain {host}", f"node.{n} {host}") for n, host in enumerate((*PLANES, *WORKERS))]
    assert [line for line in steps if line.startswith(("drain", "node"))] == [line for of in each for line in of]
    for name in ("kubelet", "kube-proxy"):
        assert versions(old, name) == dict.fromkeys((*PLANES, *WORKERS), TO)
    assert set(versions(old, "containerd").values()) == {"2.4.3"} and cordoned(old) == []
    assert kept == [0], "etcd was kept once, before any host was handed anything"
    old.forget()
    assert not old.perform().plan.has_work, "and then it is as `up` wants it"


def test_before_a_node_s_turn_no_api_server_is_of_the_old_version(old: World) -> None:
    seen: list[tuple[set[str], set[str]]] = []
    with at_each_step(old, lambda: seen.append((set(versions(old, "kube-apiserver").values()),
                                                set(versions(old, "kubelet").values())))):
        up_grade(old)
    assert all(servers == {TO} for servers, kubelets in seen if TO in kubelets)


def test_a_patch_takes_the_same_way_and_drains_nobody(built: World, kept: list[int]) -> None:
    ask_for(built, "1.36.9", containerd="2.4.3")
    up_grade(built)
    assert not any(line.startswith(("drain", "runtime")) for line in story(built.events))
    assert set(versions(built, "kubelet").values()) == {"1.36.9"} and kept == [0]


@pytest.mark.parametrize(("version", "code"), [(TO, "minor-changed"), ("1.36.9", "patch-changed")])
def test_a_plain_up_refuses_another_version_and_names_the_verb(built: World, version: str, code: str) -> None:
    ask_for(built, version)
    with pytest.raises(RefusedForSafety, match="`upgrade` does that, `up` does not") as refused:
        built.perform()
    assert refused.value.code == code and refused.value.hint.startswith("kubewright upgrade")
    assert built.hosts.log == []


def test_a_plain_up_refuses_another_minor_of_etcd_that_the_lock_alone_asks_for(built: World) -> None:
    built.hosts.lock = lock(kubernetes=FROM, etcd="3.7.1")
    with pytest.raises(RefusedForSafety, match=r"etcd 3\.6\.\d+ to 3\.7\.1") as refused:
        built.perform()
    assert refused.value.code == "etcd-minor-changed" and refused.value.hint == "kubewright upgrade"
    assert built.hosts.log == []


def test_a_plain_up_takes_no_host_back_from_a_later_minor_where_an_upgrade_was_left_half_way(old: World) -> None:
    up_grade(old, until="control-plane")
    old.forget()
    ask_for(old, FROM)
    with pytest.raises(RefusedForSafety, match=r"etcd 3\.7\.1 to 3\.6") as refused:
        old.perform()
    assert f"minor-downgraded: kube-apiserver {TO} to {FROM}" in refused.value.details
    assert refused.value.code == "etcd-downgraded" and "kubewright rollback HOST" in refused.value.hint
    assert set(versions(old, "kube-apiserver").values()) == {TO}


def test_pods_that_a_budget_holds_stop_it_before_their_node_is_changed(old: World) -> None:
    pod = "/api/v1/namespaces/default/pods/a"
    old.api.put(pod, {"metadata": {"name": "a", "namespace": "default", "uid": "a"},
                      "spec": {"nodeName": "w1", "containers": []}, "status": {"phase": "Running"}})
    old.api.held.add(pod)
    with pytest.raises(GateFailed, match="w1: draining") as stopped:
        up_grade(old, drain_timeout=3.0)
    assert stopped.value.exit_code == 13 and "w1 takes Pods again" in stopped.value.details
    assert cordoned(old) == [] and versions(old, "kubelet")["w1"] == FROM
    assert stopped.value.hint.endswith("kubewright upgrade --no-soak")
    old.api.held.clear()
    old.forget()
    up_grade(old)
    assert versions(old, "kubelet") == dict.fromkeys((*PLANES, *WORKERS), TO)
    assert [line for line in story(old.events) if line.startswith("drain")] == ["drain w1", "drain w2"]


def test_a_kubelet_that_does_not_come_up_goes_back_with_all_of_its_turn_and_its_node_takes_pods_again(
        old: World, monkeypatch: pytest.MonkeyPatch) -> None:
    carried = apply.apply_batch

    def apply_batch(session: Any, step: str, changes: Any) -> None:
        carried(session, step, changes)
        old.hosts.broken = {"cp1: kubelet": "connection refused"} if step == "node.0" else {}

    monkeypatch.setattr(apply, "apply_batch", apply_batch)
    with pytest.raises(GateFailed, match="cp1: gate after node") as failed:
        up_grade(old)
    said = "\n".join(failed.value.details)
    assert "cp1: put back as it was" in said and "still fine" in said
    assert "to go on when its cause is mended: kubewright upgrade" in said and "kubewright rollback HOST" in said
    assert set(versions(old, "kubelet").values()) == {FROM} and set(versions(old, "containerd").values()) == {"2.4.2"}
    assert set(versions(old, "kube-apiserver").values()) == {TO} and cordoned(old) == []


def test_a_node_that_a_killed_run_left_cordoned_takes_pods_again(old: World) -> None:
    drain.cordon(old.kube(), "w2", "upgrade by somebody")
    up_grade(old)
    assert cordoned(old) == []
    drain.cordon(old.kube(), "w2", "upgrade by somebody")
    plan = old.perform().plan
    assert plan.cordoned == ("w2",) and cordoned(old) == []


def test_somebody_else_s_cordon_stays_and_one_that_is_to_be_kept(old: World) -> None:
    old.api.objects["/api/v1/nodes/w2"].setdefault("spec", {})["unschedulable"] = True
    drain.cordon(old.kube(), "w1", f"{drain.KEPT} by somebody")
    up_grade(old)
    assert sorted(cordoned(old)) == ["w1", "w2"] and set(versions(old, "kubelet").values()) == {TO}


def test_a_stop_while_pods_leave_gives_the_node_back(old: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: Any, **rest: Any) -> int:
        raise Interrupted("Stopped.")

    monkeypatch.setattr(drain, "empty", stopped)
    with pytest.raises(Interrupted):
        up_grade(old)
    assert cordoned(old) == [] and set(versions(old, "kubelet").values()) == {FROM}
    assert set(versions(old, "kube-apiserver").values()) == {TO}


def test_an_api_in_use_that_the_target_lacks_needs_a_word(old: World) -> None:
    old.api.metrics = OLD_API
    with pytest.raises(RefusedForSafety, match=r"workloads of scheduling.k8s.io/v1alpha1: in use → gone in 1.37") as no:
        up_grade(old)
    assert no.value.code == "removed-apis" and no.value.hint == "kubewright upgrade --allow removed-apis"
    assert old.hosts.log == []
    up_grade(old, allow=("removed-apis",))
    assert set(versions(old, "kubelet").values()) == {TO}


def test_what_it_would_do_is_shown_and_changes_nothing(old: World, kept: list[int]) -> None:
    old.api.metrics = OLD_API
    found = look_ahead(old.inventory, Intent("upgrade"), old.events.append)
    text = plan_text(found, old.inventory.cluster, seconds=0.0)
    assert f"kubernetes {FROM} → {TO} on cp1, cp2, cp3, w1, w2" in text
    assert "etcd 3.6.16 → 3.7.1 on cp1, cp2, cp3" in text
    assert "cp1, cp2, cp3, w1, w2 are drained, one after the other" in text
    assert [v.outcome for v in found.verdicts if v.code == "removed-apis"] == [NEEDS_FLAG]
    order = [stage.phase for stage in found.stages]
    assert order.index("etcd") < order.index("control-plane") < order.index("controllers") < order.index("node")
    assert old.hosts.log == [] and kept == []


def test_without_a_cluster_there_is_nothing_to_upgrade(world: World, kept: list[int]) -> None:
    with pytest.raises(RefusedForSafety, match="there is no cluster yet to be upgraded"):
        up_grade(world)
    with pytest.raises(RefusedForSafety, match="there is no cluster yet to be upgraded"):
        look_ahead(world.inventory, Intent("upgrade"), world.events.append)


def test_a_stage_is_the_last_where_that_is_asked_for_and_the_next_run_goes_on(old: World) -> None:
    up_grade(old, until="controllers")
    assert set(versions(old, "kube-scheduler").values()) == {TO}
    assert set(versions(old, "kubelet").values()) == {FROM} and set(versions(old, "containerd").values()) == {"2.4.2"}
    up_grade(old, only=("w1",))
    assert {host for host, version in versions(old, "kubelet").items() if version == TO} == {"w1"}
    old.forget()
    up_grade(old)
    assert set(versions(old, "kubelet").values()) == {TO} == set(versions(old, "kube-proxy").values())
    assert set(versions(old, "containerd").values()) == {"2.4.3"}
    assert [line for line in story(old.events) if line.startswith("drain")] == [
        f"drain {host}" for host in (*PLANES, "w2")]


def test_a_worker_alone_may_not_be_newer_than_the_api_servers(old: World) -> None:
    with pytest.raises(RefusedForSafety, match=r"kubelet-skew: kubelet 1\.37\.2 is newer than 1\.36") as refused:
        up_grade(old, only=("w1",))
    assert refused.value.code == "kubelet-skew" and old.hosts.log == []


def test_what_a_rule_forbids_is_refused_by_its_name_and_its_source(old: World) -> None:
    kubelet = "link /opt/kubewright/kubernetes/1.32.0-aaaaaaaa/kubelet"
    old.hosts.hosts["w1"].states["symlink", "/usr/local/bin/kubelet"] = kubelet
    with pytest.raises(RefusedForSafety, match=r"kubelet-skew: kubelet 1\.32\.0 is older than 1\.3") as refused:
        up_grade(old)
    assert refused.value.code == "kubelet-skew" and "version-skew-policy" in "\n".join(refused.value.details)
    assert old.hosts.log == []


def test_a_budget_that_lets_none_go_is_named_before(old: World) -> None:
    old.api.put("/api/v1/namespaces/default/pods/a", {
        "metadata": {"name": "a", "namespace": "default", "uid": "a", "labels": {"app": "a"}},
        "spec": {"nodeName": "w1", "containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    old.api.put("/apis/policy/v1/namespaces/default/poddisruptionbudgets/a", {
        "metadata": {"name": "a", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"app": "a"}}},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}})
    found = look_ahead(old.inventory, Intent("upgrade"), old.events.append)
    text = plan_text(found, old.inventory.cluster, seconds=0.0)
    assert "drain of w1: budget default/a: 0 may go: 1 of 1 Pods are healthy" in text
    assert "w1 is drained: 1 Pod to leave, 1 for good; default/a lets none go now" in text
    assert old.hosts.log == []


def gated(world: World, *command: str, timeout: int = 1) -> None:
    document = world.inventory.cluster.model_dump(mode="json")
    document["gates"] = [{"name": "shop", "command": list(command), "timeout": timeout}]
    world.inventory = replace(world.inventory, cluster=Cluster.model_validate(document))


def test_a_gate_of_one_s_own_is_asked_after_each_turn_and_told_its_hosts(old: World, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    tell = f"import os; print(os.environ['KUBEWRIGHT_HOSTS'], file=open({str(asked)!r}, 'a'))"
    gated(old, sys.executable, "-c", tell)
    up_grade(old)
    hosts = asked.read_text().split()
    assert [hosts.count(host) for host in (*PLANES, *WORKERS)] == [4, 4, 4, 1, 1], hosts


def test_where_a_gate_of_one_s_own_fails_the_turn_goes_back_and_the_run_stops(old: World) -> None:
    gated(old, sys.executable, "-c", "import sys; print('HTTP 500'); sys.exit(7)")
    with pytest.raises(GateFailed, match="not so after 1 s: shop: exit 7: HTTP 500"):
        up_grade(old)
    assert set(versions(old, "etcd").values()) == {"3.6.16"}


def test_a_gate_without_its_program_is_refused_before_anything_is_done(old: World) -> None:
    gated(old, "./no-such-gate")
    with pytest.raises(UsageFault, match=r"shop: \./no-such-gate is no program here"):
        up_grade(old)
    assert old.hosts.log == []


@pytest.mark.parametrize(("options", "words"), [
    ({}, ""),
    ({"only": ("w1",), "slo": ("failures=0",)}, " --only w1 --slo failures=0"),
    ({"until": "etcd", "without": ("w2",)}, " --until etcd --without w2"),
])
def test_what_goes_on_goes_no_further_than_what_was_asked_for(options: dict[str, Any], words: str) -> None:
    assert upgrade.again(Intent("upgrade", **options)) == f"kubewright upgrade --no-soak{words}"


@pytest.mark.parametrize("verb", ["up", "upgrade", "node replace", "node remove"])
def test_whatever_meets_a_node_half_way_proves_its_parts_after_its_turn(old: World, verb: str) -> None:
    plan = look_ahead(old.inventory, Intent("upgrade"), old.events.append)
    names = [phase.name for phase in VERBS[verb].chosen(Intent(verb), plan)]
    assert names.index("node") < names.index("runtime") < names.index("network")
