"""What single phases do: carry changes, stream artifacts, start members, apply objects."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.compile.etcd import BOOTSTRAP_ENV, BOOTSTRAPPED
from provisioner.converge import runner
from provisioner.converge.results import HostResult, Status
from provisioner.decide.batches import Limit
from provisioner.errors import GateFailed, Interrupted, KubewrightError, LockHeld, PlanStale
from provisioner.model.desired import File
from provisioner.model.events import Event
from provisioner.model.observed import ABSENT
from provisioner.model.plan import Change
from provisioner.orchestrate.phases import converge, etcd, objects, stage
from provisioner.orchestrate.session import telling
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn.apply import apply_batch, by_ansible, over_connections
from provisioner.transport.hosts import OneHost
from tests.fakes.session import World, instant
from tests.fakes.session import surveyed_with_secrets as surveyed

HAPROXY = "/etc/haproxy/haproxy.cfg"


def one_change(session: Session, host: str) -> dict[str, Sequence[Change]]:
    item = File(path="/etc/kubewright/x", phase="node", content="x")
    return {host: [Change(host, "node", "file", item.path, "add", "missing", ABSENT, item.want(), item)]}


def test_bundles_are_private_while_ansible_runs_and_gone_afterwards(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = surveyed(built)
    seen: list[tuple[int, int]] = []
    real = built.hosts.apply

    def apply(inventory: Any, directory: Path, hosts: Sequence[str], **rest: Any) -> dict[str, HostResult]:
        seen.append((stat.S_IMODE(directory.stat().st_mode), stat.S_IMODE((directory / "w1.json").stat().st_mode)))
        return real(inventory, directory, hosts, **rest)

    monkeypatch.setattr(runner, "apply", apply)
    apply_batch(session, "node.0", one_change(session, "w1"))
    assert seen == [(0o700, 0o600)]
    assert not (session.run.directory / "bundles" / "node.0").exists()


@pytest.mark.parametrize("fault", [KubewrightError("ansible-playbook is not there"), KeyboardInterrupt()])
def test_bundles_are_removed_even_when_ansible_does_not_come_back(
        built: World, monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> None:
    session = surveyed(built)

    def apply(*_: Any, **__: Any) -> dict[str, HostResult]:
        assert (session.run.directory / "bundles" / "node.0" / "w1.json").is_file()
        raise fault

    monkeypatch.setattr(runner, "apply", apply)
    with pytest.raises(type(fault)):
        apply_batch(session, "node.0", one_change(session, "w1"))
    assert not (session.run.directory / "bundles" / "node.0").exists()


def test_bundles_that_could_not_be_written_whole_leave_no_secret_behind(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = surveyed(built)
    changes = {**one_change(session, "w1"), "w2": [Change("w2", "node", "user", "x", "add", "", "", "", None)]}
    with pytest.raises(KubewrightError, match="no item"):
        apply_batch(session, "node.0", changes)
    assert not (session.run.directory / "bundles" / "node.0").exists()


def test_every_step_id_names_its_run_phase_and_batch(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = surveyed(built)
    steps: list[str] = []

    def apply(inventory: Any, directory: Path, hosts: Sequence[str], **_: Any) -> dict[str, HostResult]:
        steps.extend(json.loads((directory / f"{h}.json").read_text())["step"] for h in hosts)
        return {h: HostResult(h, "done") for h in hosts}

    monkeypatch.setattr(runner, "apply", apply)
    changes = one_change(session, "w1") | one_change(session, "w2")
    converge.apply_changes(session, "node", changes, lambda s, hosts: None)
    assert steps == [f"{session.run.id}.node.0"] * 2


def test_one_host_that_failed_is_its_own_error_and_several_are_one_that_holds_all(built: World) -> None:
    session = surveyed(built)
    built.hosts.results = {"w1": HostResult("w1", "failed", message="the disk is full")}
    both = one_change(session, "w1") | one_change(session, "w2")
    with pytest.raises(GateFailed, match="w1: applying: the disk is full"):
        apply_batch(session, "node.0", both)
    built.hosts.results["w2"] = HostResult("w2", "unreachable", message="no route")
    with pytest.raises(KubewrightError) as fault:
        apply_batch(session, "node.0", both)
    said = "\n".join([fault.value.message, *fault.value.details])
    assert "the disk is full" in said and "no route" in said


def test_a_unit_that_could_not_be_started_brings_its_last_words_and_what_they_mean(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = surveyed(built)
    row = {"kind": "unit", "path": "kubelet.service", "result": "failed", "detail": "Job for kubelet.service failed"}
    built.hosts.results = {"cp1": HostResult("cp1", "failed", (row,), "step x: failed")}
    monkeypatch.setattr(built.hosts, "journal", lambda one, request, take: take(
        {"__REALTIME_TIMESTAMP": "1", "MESSAGE": "t.service: Failed to execute /opt/x: Exec format error"}) or {})
    with pytest.raises(GateFailed, match="cp1: applying: step x: failed") as fault:
        apply_batch(session, "node.0", one_change(session, "cp1"))
    assert fault.value.details[:3] == (
        "kubelet.service: failed: Job for kubelet.service failed",
        "cp1: kubelet: /opt/x is no program for this machine",
        "likely: it is for another architecture; or the file was cut short: its disk was full")
    assert fault.value.details[-1] == "    t.service: Failed to execute /opt/x: Exec format error"


def test_each_batch_on_a_live_cluster_is_proved_before_the_next_so_that_it_can_go_back(built: World) -> None:
    session = surveyed(built)
    item = next(i for i in session.the_plan.desired.hosts["w1"].items if i.path == "kubelet.service")
    changes = {h: [Change(h, "node", "unit", item.path, "restart", "x", "", "", item)] for h in ("w1", "w2", "cp1")}
    built.hosts.log.clear()
    converge.apply_changes(session, "node", changes, lambda s, turn: built.hosts.log.append(("prove", turn.hosts)))
    assert built.hosts.log == [("apply", "node.0", ("cp1",)), ("prove", ("cp1",)), ("apply", "node.1", ("w1",)),
                               ("prove", ("w1",)), ("apply", "node.2", ("w2",)), ("prove", ("w2",))]
    built.hosts.log.clear()
    session.run.max_unavailable = Limit.parse("100%")
    converge.apply_changes(session, "node", changes, lambda s, hosts: None)
    assert [e[2] for e in built.hosts.log] == [("cp1",), ("w1", "w2")]


def test_a_run_may_be_stopped_between_batches_once_the_one_before_is_proved(built: World) -> None:
    session = surveyed(built)
    item = next(i for i in session.the_plan.desired.hosts["w1"].items if i.path == "kubelet.service")
    changes = {h: [Change(h, "node", "unit", item.path, "restart", "x", "", "", item)] for h in ("w1", "w2")}
    built.hosts.log.clear()

    def spent() -> None:
        built.hosts.log.append(("safe",))
        raise GateFailed("the budget is spent")

    session.run.safe_points.append(spent)
    with pytest.raises(GateFailed, match="the budget is spent"):
        converge.apply_changes(session, "node", changes, lambda s, turn: built.hosts.log.append(("prove", turn.hosts)))
    assert built.hosts.log == [("apply", "node.0", ("w1",)), ("prove", ("w1",)), ("safe",)]


@pytest.mark.parametrize(("changes", "words"), [
    ({}, ""), ({"a": []}, ""), ({"a": [1]}, "1 host, 1 change"), ({"a": [1, 2], "b": [3]}, "2 hosts, 3 changes")])
def test_the_work_done_is_told_in_a_few_words(changes: Any, words: str) -> None:
    assert converge.summary(changes) == words


def expectations(session: Session, path: str) -> dict[str, str]:
    return {c.host: c.expect for c in session.the_plan.changes if (c.kind, c.path) == ("file", path)}


def test_a_file_that_its_package_has_brought_is_expected_from_then_on(world: World) -> None:
    session = surveyed(world)
    assert set(expectations(session, HAPROXY).values()) == {ABSENT}
    converge.prepare(session)
    assert set(expectations(session, HAPROXY).values()) == {"file sha256:of-the-package 0644 root:root"}


def test_a_package_that_no_longer_brings_the_file_leaves_it_expected_absent(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fakes.hosts.PACKAGE_FILES", {"haproxy": "/etc/haproxy/renamed.cfg"})
    session = surveyed(world)
    converge.prepare(session)
    assert set(expectations(session, HAPROXY).values()) == {ABSENT}
    world.hosts.hosts["w1"].states["file", HAPROXY] = "file sha256:later 0644 root:root"
    assert expectations(session, HAPROXY)["w1"] == ABSENT, "what comes after that is a stranger's, and stale"


def test_only_files_of_packages_that_were_just_installed_are_expected_anew(built: World) -> None:
    host = built.hosts.hosts["w1"]
    host.states["file", HAPROXY] = "file sha256:edited 0644 root:root"
    host.states["sysctl", "net.ipv4.ip_forward"] = "0"
    session = surveyed(built)
    host.states["file", HAPROXY] = "file sha256:edited-again 0644 root:root"
    converge.prepare(session)
    assert expectations(session, HAPROXY) == {"w1": "file sha256:edited 0644 root:root"}


def test_packages_of_a_bundle_go_to_hosts_of_their_system_alone(world: World, tmp_path: Path) -> None:
    session = surveyed(world)
    seen = session.observed["w1"]
    session.observed["w1"] = replace(seen, facts=replace(seen.facts, os_version="13"))
    session.run.packages = {"debian-12-amd64": tmp_path / "packages.tar"}
    converge.prepare(session)
    brought = {file.name.partition(".")[0]: json.loads(file.read_text())["archives"]
               for file in session.run.directory.rglob("*.prepare.json")}
    assert brought.pop("w1") == []
    assert brought and all(archives == [str(tmp_path / "packages.tar")] for archives in brought.values())


def test_a_host_that_could_not_be_prepared_stops_the_run(world: World) -> None:
    session = surveyed(world)
    world.hosts.results = {"cp2": HostResult("cp2", "failed", message="apt: no such package")}
    with pytest.raises(GateFailed, match="cp2"):
        converge.prepare(session)


def test_whoever_asks_to_stop_need_not_wait_for_the_packages(world: World) -> None:
    session = surveyed(world)

    def stop() -> None:
        raise Interrupted("Stopped.")

    session.run.safe_points.append(stop)
    with pytest.raises(Interrupted):
        converge.prepare(session)
    assert [entry[0] for entry in world.hosts.log] == ["prepare"]
    assert world.hosts.hosts["w1"].states.get(("package", "runc")) is None


def test_what_stops_the_packages_is_told_and_no_host_even_where_it_says_so_once(world: World) -> None:
    session = surveyed(world)
    once = [GateFailed("this machine: keeping the run's events: No space left on device")]

    def full() -> None:
        if once:
            raise once.pop()

    session.run.safe_points.append(full)
    with pytest.raises(GateFailed, match=r"^this machine: keeping"):
        converge.prepare(session)


def test_what_held_before_a_batch_proves_nothing_after_it(world: World) -> None:
    session = surveyed(world)
    session.target.proved = {"w1": [{"name": "kubelet.service"}]}
    apply_batch(session, "node.0", {"w1": session.changes("node")["w1"]})
    assert session.target.proved == {}


def test_a_batch_tells_which_host_begins_and_adds_phase_and_seconds_to_its_end(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = surveyed(built)
    real = built.hosts.apply

    def apply(*args: Any, emit: Any, **rest: Any) -> dict[str, HostResult]:
        emit(Event("host-done", time.time() + 2, host="w1", status="ok"))
        return real(*args, emit=emit, **rest)

    monkeypatch.setattr(runner, "apply", apply)
    apply_batch(session, "node.0", one_change(session, "w1"))
    start, done, changed = built.events
    assert (start.type, start.phase, start.host, start.data) == (
        "host-start", "node", "w1", {"changes": 1, "step": "node.0"})
    assert (done.type, done.phase, round(done.seconds or 0)) == ("host-done", "node", 2)
    assert changed.data and "diff" not in changed.data["changes"][0], "what is new needs no diff"


def test_what_was_changed_is_told_with_its_diff_and_a_long_one_is_cut(built: World) -> None:
    session = surveyed(built)
    short, long = (Change("w1", "node", "file", "/x", "change", "", "a", "b", diff="\n".join(["+line"] * n))
                   for n in (3, telling.DIFF_LINES + 7))
    telling.of_changes(session, "w1", [short, long])
    rows = (built.events[-1].data or {})["changes"]
    assert rows[0]["diff"] == "+line\n+line\n+line"
    assert rows[1]["diff"].splitlines()[-2:] == ["+line", "… 7 more lines"]


def bundles(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """Return a record that fills with the changes of each batch's first host."""
    sent: dict[str, list[dict[str, Any]]] = {}
    real, handed = world.hosts.apply, world.hosts.hand

    def hand(one: OneHost, request: Mapping[str, Any]) -> dict[str, Any]:
        sent.setdefault(request["step"].partition(".")[2], request["changes"])
        return handed(one, request)

    def apply(inventory: Any, directory: Path, hosts: Sequence[str], **rest: Any) -> dict[str, HostResult]:
        sent[directory.name] = json.loads((directory / f"{hosts[0]}.json").read_text())["changes"]
        return real(inventory, directory, hosts, **rest)

    monkeypatch.setattr(runner, "apply", apply)
    monkeypatch.setattr(world.hosts, "hand", hand)
    return sent


def test_members_of_a_first_start_say_new_from_a_file_in_run_that_goes_after_the_gate(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    record, session = bundles(world, monkeypatch), surveyed(world)
    for act in (converge.prepare, converge.phase("pki"), etcd.change_members):
        act(session)
    first = next(c for c in record["pki.0"] if c["path"] == BOOTSTRAP_ENV)     # members start with the certificates
    assert (first["action"], first["expect"]) == ("add", ABSENT)
    assert BOOTSTRAP_ENV.startswith("/run/"), "a boot must not start a second cluster beside the first"
    assert "etcd.bootstrapped" not in record, "not before the gate"
    etcd.gate(session)
    assert [(c["path"], c["action"]) for c in record["etcd.bootstrapped"]] == [
        (BOOTSTRAPPED, "add"), (BOOTSTRAP_ENV, "remove")]


def test_while_the_gate_is_shut_nothing_says_that_the_cluster_is_up(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    record, session = bundles(world, monkeypatch), surveyed(world)
    for act in (converge.prepare, converge.phase("pki"), etcd.change_members):
        act(session)
    world.hosts.broken = {"etcd /readyz": "503"}
    with pytest.raises(GateFailed):
        etcd.gate(session)
    assert "etcd.bootstrapped" not in record


@pytest.mark.parametrize(("status", "message", "fault"), [
    ("stale", "not what the plan saw", PlanStale), ("fenced", "epoch 1 is over", LockHeld),
    ("failed", "No space left on device", GateFailed)])
def test_what_a_host_answers_to_a_note_is_told_as_by_ansible(
        built: World, status: Status, message: str, fault: type[KubewrightError]) -> None:
    session = surveyed(built)
    built.hosts.results["w1"] = HostResult("w1", status, message=message)
    for carry in (by_ansible, over_connections):
        session.run.in_flight.clear()
        with pytest.raises(fault, match=r"^w1: applying: ") as told:
            apply_batch(session, "verify.0", one_change(session, "w1"), carry)
        assert message in "\n".join([told.value.message, *told.value.details])
    assert session.run.in_flight == set(), "it has answered"


def test_a_cluster_that_was_up_once_never_gets_a_bootstrap_file(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record = bundles(built, monkeypatch)
    built.hosts.hosts["cp1"].states["unit", "etcd.service"] = "failed enabled current"
    session = surveyed(built)
    etcd.change_members(session)
    etcd.gate(session)
    assert set(record) == {"etcd.0"}
    assert [c["path"] for c in record["etcd.0"]] == ["etcd.service"]


def test_one_host_that_remembers_is_enough_to_never_bootstrap_again(built: World) -> None:
    for name in ("cp1", "cp2"):
        del built.hosts.hosts[name].states["file", BOOTSTRAPPED]
    assert not surveyed(built).the_plan.bootstrap


def test_bindings_are_made_with_a_certificate_that_lives_minutes_and_only_when_they_differ(built: World) -> None:
    built.break_glass = 0
    session = surveyed(built)
    assert objects.apply_access(session) == "" and built.break_glass == 0
    path = next(p for p in built.api.objects if "clusterrolebindings" in p)
    del built.api.objects[path]
    session = surveyed(built)
    assert objects.apply_access(session) == "1 object"
    assert built.break_glass == 1
    assert built.api.log == [("PATCH", path)]


def test_addons_are_applied_as_admin_and_waited_for(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    path = next(p for p in built.api.objects if "deployments" in p)
    built.api.objects[path]["spec"]["replicas"] = 9
    built.break_glass = 0
    session = surveyed(built)
    assert objects.apply_addons(session) == "1 object" and built.break_glass == 0
    objects.addons_are_available(session)
    built.api.objects[path]["status"]["availableReplicas"] = 0
    with pytest.raises(GateFailed, match="0 of 2 replicas available"):
        objects.addons_are_available(session)


def test_an_api_that_is_handed_on_is_waited_for_until_the_api_servers_reach_it(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    session = surveyed(built)
    condition = {"type": "Available", "status": "False", "message": "x509: certificate signed by unknown authority"}
    path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
    built.api.objects[path]["status"] = {"conditions": [condition]}
    with pytest.raises(GateFailed, match=r"v1beta1\.metrics\.k8s\.io: x509: certificate signed by unknown authority"):
        objects.addons_are_available(session)
    built.api.objects[path]["status"] = {}
    with pytest.raises(GateFailed, match=r"v1beta1\.metrics\.k8s\.io: not asked yet"):
        objects.addons_are_available(session)


def test_a_lost_leaf_in_the_cluster_is_issued_anew_and_a_kept_one_is_not_touched(built: World) -> None:
    path = "/api/v1/namespaces/kube-system/secrets/metrics-server-tls"
    first = built.api.objects[path]["data"]
    assert objects.apply_addons(surveyed(built)) == ""
    assert built.api.objects[path]["data"] == first
    del built.api.objects[path]
    session = surveyed(built)
    assert [(c.identity, c.action) for c in session.the_plan.objects] == [
        ("Secret kube-system/metrics-server-tls", "add")]
    assert objects.apply_addons(session) == "1 object"
    assert set(built.api.objects[path]["data"]) == {"tls.crt", "tls.key"}
    assert built.api.objects[path]["data"] != first


def test_admin_is_waited_for_until_the_authorizer_has_seen_the_binding(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = surveyed(built)
    sleeps = instant(monkeypatch)
    built.api.refuse = 403
    with pytest.raises(GateFailed, match="403"):
        objects.admin_is_admitted(session)
    assert 25 < sum(sleeps) < 35


def test_bundles_for_use_by_hand_leave_out_packages_and_artifacts(world: World, tmp_path: Path) -> None:
    session = surveyed(world)
    assert converge.write_by_hand(session, tmp_path / "out") == 5
    changes = json.loads((tmp_path / "out" / "w1.json").read_text())["changes"]
    assert not {"package", "artifact", "sysctl", "user"} & {c["kind"] for c in changes}
    assert len(changes) > 40


def test_a_phase_before_the_survey_is_our_bug(world: World) -> None:
    with pytest.raises(KubewrightError, match="before the survey"):
        stage.stage(world.session())


def test_a_plan_that_was_replaced_keeps_everything_but_the_expectations(world: World) -> None:
    session = surveyed(world)
    before = session.the_plan
    converge.prepare(session)
    assert [replace(c, expect="") for c in session.the_plan.changes] == [replace(c, expect="") for c in before.changes]
