"""`reset`: everything of ours goes, what others changed stays, and the rest of the cluster is never endangered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from provisioner.converge.results import HostResult
from provisioner.errors import RefusedForSafety, Unreachable, UsageFault
from provisioner.model.applied import HOST_PATH
from provisioner.model.cluster import Role
from provisioner.model.inventory import Inventory
from provisioner.model.plan import Plan
from provisioner.operate.kube import Kube
from provisioner.orchestrate.plan import everybody
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.perform import Performed
from provisioner.orchestrate.run.verb import Consent
from tests.fakes.session import FakeAccess, World

NODE = "/api/v1/nodes/w1"
KUBELET = "/var/lib/kubelet/config.yaml"


def reset(world: World, *hosts: str, answer: bool = True) -> Performed:
    return world.perform(Intent("reset", only=hosts), lambda plan, consent: answer)


def left(world: World, host: str) -> list[tuple[str, str]]:
    """Return what is still there of what ever was made: kernel modules stay until the next boot."""
    return sorted(key for key in world.hosts.hosts[host].states
                  if key[0] not in ("module", "swap", "sysctl", "key", "member"))


def test_a_worker_loses_everything_and_its_node_and_nobody_else_anything(built: World) -> None:
    others = {name: dict(host.states) for name, host in built.hosts.hosts.items() if name != "w1"}
    done = reset(built, "w1")
    assert done.agreed
    assert left(built, "w1") == [("file", "/etc/haproxy/haproxy.cfg")]      # it came with the package
    assert NODE not in built.api.objects
    assert {name: built.hosts.hosts[name].states for name in others} == others
    assert built.hosts.log[-1] == ("forget", "w1")


def test_a_worker_that_was_reset_is_built_anew_by_up(built: World) -> None:
    reset(built, "w1")
    built.perform()
    assert ("unit", "kubelet.service") in built.hosts.hosts["w1"].states
    assert reset(built, "w1").plan.changes


def test_nothing_is_changed_where_nobody_agrees(built: World) -> None:
    before = {name: dict(host.states) for name, host in built.hosts.hosts.items()}
    assert not reset(built, answer=False).agreed
    assert {name: host.states for name, host in built.hosts.hosts.items()} == before
    assert not [entry for entry in built.hosts.log if entry[0] == "forget"]


def test_the_whole_cluster_goes_workers_first_and_is_forgotten_here_too(built: World) -> None:
    assert built.inventory.applied_path.is_file()
    reset(built)
    steps = [entry for entry in built.hosts.log if entry[0] == "apply" and entry[1].startswith("remove.")]
    assert [entry[2] for entry in steps] == [("w1", "w2"), ("cp1", "cp2", "cp3")]
    assert {entry[1] for entry in built.hosts.log if entry[0] == "forget"} == set(built.inventory.cluster.hosts)
    assert not built.inventory.applied_path.exists()
    assert not any(host.record for host in built.hosts.hosts.values()), "the lock's records go as well"


def test_a_file_that_somebody_else_has_changed_is_named_and_stays(built: World) -> None:
    built.hosts.hosts["w1"].edit(KUBELET, "file sha256:by-hand 0600 root:root", "by hand")
    plans: list[Plan] = []
    consents: list[Consent] = []

    def ask(plan: Plan, consent: Consent) -> bool:
        plans.append(plan)
        consents.append(consent)
        return True

    built.perform(Intent("reset", only=("w1",)), ask)
    assert [v.path for v in plans[0].verdicts] == [f"w1:{KUBELET}"]
    assert ("file", KUBELET) in built.hosts.hosts["w1"].states
    assert consents[0].question == "Take this off w1 for good?"


def test_two_of_three_members_are_refused_since_etcd_would_lose_its_quorum(built: World) -> None:
    with pytest.raises(RefusedForSafety) as refused:
        reset(built, "cp1", "cp2")
    assert refused.value.code == "quorum-lost" and refused.value.exit_code == 15
    assert "of 3 members 1 would be left" in refused.value.details[0]


def test_one_member_may_go_unless_another_is_silent(built: World) -> None:
    built.hosts.silent = {"cp2"}
    with pytest.raises(RefusedForSafety, match="quorum"):
        reset(built, "cp3")
    built.hosts.silent = set()
    assert reset(built, "cp3").agreed


def test_all_control_planes_without_the_workers_are_refused(built: World) -> None:
    with pytest.raises(RefusedForSafety) as refused:
        reset(built, "cp1", "cp2", "cp3")
    assert refused.value.code == "no-control-plane-left"


def test_a_host_that_nobody_knows_is_a_fault_of_the_command_line(built: World) -> None:
    with pytest.raises(UsageFault, match="reset nobody: not in the inventory"):
        reset(built, "nobody")


def test_the_node_of_a_control_plane_is_deleted_through_one_that_stays(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def kube(access: FakeAccess) -> Kube:
        through = access.run.answering(access.target.cluster.control_planes)[0]
        if ("unit", "haproxy.service") not in built.hosts.hosts[through].states:
            raise Unreachable(f"{through}: nobody listens")
        return built.kube()

    monkeypatch.setattr(FakeAccess, "kube", kube)
    reset(built, "cp1")
    assert "/api/v1/nodes/cp1" not in built.api.objects


def test_a_node_that_cannot_be_asked_for_is_told(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def kube(access: FakeAccess) -> Kube:
        raise Unreachable("no control plane answers")

    monkeypatch.setattr(FakeAccess, "kube", kube)
    reset(built, "w1")
    assert [e.message for e in built.events if e.type == "diagnostic"] == [
        "no control plane answers: if the API has a Node w1, it stays there (kubectl delete node)"]


def workers_now(inventory: Inventory, *names: str) -> Inventory:
    """Return the inventory after somebody has made hosts mere workers in it."""
    hosts = {name: spec.model_copy(update={"roles": (Role.WORKER,)}) if name in names else spec
             for name, spec in inventory.cluster.hosts.items()}
    return replace(inventory, cluster=inventory.cluster.model_copy(update={"hosts": hosts}))


def test_a_role_that_was_taken_out_of_the_inventory_still_counts(built: World) -> None:
    found = everybody.with_those_that_left(workers_now(built.inventory, "cp2"), lambda event: None).cluster
    assert found.machine("cp2").roles > built.inventory.cluster.machine("cp2").roles
    built.inventory = workers_now(built.inventory, "cp2", "cp3")       # and nobody knows what was applied
    with pytest.raises(RefusedForSafety) as refused:
        reset(built, "cp2", "cp3")
    assert refused.value.code == "quorum-lost"


def test_a_name_that_leads_to_another_host_by_now_is_refused_before_any_host_is_asked(built: World) -> None:
    hosts = built.inventory.cluster.hosts
    swapped = {**hosts, "w1": hosts["w2"], "w2": hosts["w1"]}
    edited = replace(built.inventory, cluster=built.inventory.cluster.model_copy(update={"hosts": swapped}))
    with pytest.raises(RefusedForSafety, match=r"w1: .* was w2's when this was last applied") as refused:
        everybody.with_those_that_left(edited, lambda event: None)
    assert refused.value.code == "another-host" and "w2: " in refused.value.details[0]


def test_up_takes_no_member_away_though_nobody_knows_that_its_role_was_applied(built: World) -> None:
    before = dict(built.hosts.hosts["cp3"].states)
    built.inventory.applied_path.unlink()
    for host in built.hosts.hosts.values():
        host.states.pop(("file", HOST_PATH), None)
    built.inventory = workers_now(built.inventory, "cp3")
    with pytest.raises(RefusedForSafety, match=r"cp3: .*: `up` takes no member away") as refused:
        built.perform()
    assert refused.value.code == "member-role-removed"
    assert built.hosts.hosts["cp3"].states.keys() >= before.keys() - {("file", HOST_PATH)}


def test_the_only_api_server_that_serves_is_not_taken_away(built: World) -> None:
    for name in ("cp2", "cp3"):
        built.hosts.broken[f"{name}: kube-apiserver /readyz"] = "connection refused"
    with pytest.raises(RefusedForSafety, match="no API server would be left that serves"):
        reset(built, "cp1")


def test_a_cluster_whose_control_planes_are_gone_can_be_ended_and_those_that_are_silent_are_told(built: World) -> None:
    for name in ("cp2", "cp3"):
        built.hosts.hosts[name].down = True
    with pytest.raises(Unreachable):
        reset(built)
    assert left(built, "cp1") == [("file", "/etc/haproxy/haproxy.cfg")]
    assert built.inventory.applied_path.is_file(), "what is left is still known"


def test_run_again_it_ends_what_was_begun_and_says_that_nothing_is_left(built: World) -> None:
    reset(built)
    built.forget()
    again = reset(built)
    assert not again.plan.changes


def test_what_a_host_kept_of_what_was_to_go_is_told_once(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = "kept: in it is theirs.conf"
    apply = built.hosts._apply

    def with_details(host: str, request: Mapping[str, Any]) -> HostResult:
        done = apply(host, request)
        return replace(done, changes=tuple({**row, "detail": kept if row["path"] == "/etc/kubewright" else "removed"}
                                           for row in done.changes))

    monkeypatch.setattr(built.hosts, "_apply", with_details)
    reset(built, "w1")
    assert [e.message for e in built.events if e.type == "diagnostic"] == [f"w1: /etc/kubewright: {kept}"]
