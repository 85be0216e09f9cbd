"""plan, up, status, ready, kubeconfig and compile as people and programs meet them, on hosts in memory."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from provisioner.cli import main as command
from provisioner.cli.change import readers
from provisioner.cli.context import Context
from provisioner.compile.pki import ADMIN
from provisioner.errors import Interrupted
from provisioner.model.plan import Plan
from provisioner.operate import pki
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import engine
from provisioner.orchestrate.session import session
from provisioner.orchestrate.session.phase import Phase
from tests.fakes.api import node
from tests.fakes.session import World, instant, operator_key

KUBELET = "/var/lib/kubelet/config.yaml"


@dataclass
class Ended:
    """How one command line ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World.make(tmp_path, monkeypatch)
    instant(monkeypatch)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return made


@pytest.fixture
def built(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    return world.build(monkeypatch)


@pytest.fixture
def run(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("sys.argv", ["kubewright"])

    def call(*words: str) -> Ended:
        code = command.main(["-i", str(world.inventory.path), *words])
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return call


def drift(world: World, host: str = "w1") -> None:
    world.hosts.hosts[host].edit(KUBELET, "file sha256:by-hand 0600 root:root", "podPidsLimit: 5\n",
                                 unit="kubelet.service")


def test_plan_of_a_cluster_as_it_should_be_says_so_and_exits_0(built: World, run: Run) -> None:
    for words in (["plan"], ["plan", "--detailed-exitcode"]):
        ended = run(*words)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("No changes. 5 hosts match the inventory (checked ")
        assert "To do this" not in ended.out


def test_plan_shows_what_differs_and_exits_2_only_where_asked(built: World, run: Run) -> None:
    drift(built)
    plain = run("plan")
    assert plain.code == 0
    assert f"~ {KUBELET}" in plain.out and "restarts: " + KUBELET in plain.out
    called = f"kubewright -i {built.inventory.path}"
    assert plain.out.splitlines()[-1] == f"To do this: {called} up      Every line and diff: {called} plan --diff"
    assert run("plan", "--detailed-exitcode").code == 2
    assert "-podPidsLimit: 5" in run("plan", "--diff").out


def test_plan_changes_nothing_anywhere_and_makes_no_secret(world: World, run: Run) -> None:
    ended = run("plan")
    assert ended.code == 0 and "a new cluster" in ended.out
    assert world.hosts.log == [] and world.api.log == []
    assert not world.inventory.secrets_dir.exists()


def test_plan_as_json_is_one_document_with_its_schema_version(built: World, run: Run) -> None:
    drift(built)
    document = json.loads(run("-o", "json", "plan").out)
    assert document["schema_version"] == 1
    assert [(c["host"], c["path"]) for c in document["changes"]] == [("w1", KUBELET), ("w1", "kubelet.service")]
    assert (document["bootstrap"], document["objects"], document["unlisted"]) == (False, [], [])


def test_up_builds_and_a_second_one_only_verifies(world: World, run: Run) -> None:
    first = run("up", "--yes")
    assert first.code == 0
    assert first.out.startswith("Cluster lab is ready in ") and "5 nodes Ready" in first.out
    assert "  ✓ etcd " in first.err and first.err.splitlines()[0].startswith("Plan: ")
    world.forget()
    second = run("up", "--yes")
    assert second.code == 0
    assert second.err.startswith("No changes.")
    phases = [line.split()[1] for line in second.err.splitlines() if line.startswith("  ")]
    assert phases == ["verify"]
    assert (world.hosts.log, world.api.log) == ([], [])
    assert "0 changes" in second.out


def test_up_tells_its_events_as_json_lines_and_nothing_else_on_stdout(built: World, run: Run) -> None:
    ended = run("up", "--yes", "--events")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    frame = [r["type"] for r in rows if r["type"].startswith(("run-", "phase-"))]
    assert frame == ["run-start", "phase-start", "phase-done", "run-end"]
    assert all(r["v"] == 1 for r in rows)
    kept = sorted(built.inventory.runs_dir.glob("*/events.jsonl"))[-1]
    assert [json.loads(line) for line in kept.read_text().splitlines()] == rows


def test_up_refuses_another_s_cluster_with_15_and_says_what_is_still_fine(built: World, run: Run) -> None:
    shutil.rmtree(built.inventory.secrets_dir)
    ended = run("up", "--yes")
    assert ended.code == 15
    assert "nothing was changed; the cluster keeps running" in ended.err
    assert "hint: " in ended.err
    assert built.hosts.log == [] and not built.inventory.secrets_dir.exists()


def test_up_that_fails_says_which_phase_and_what_was_not_started(built: World, run: Run) -> None:
    drift(built)
    built.hosts.broken = {"kubelet": "connection refused"}
    ended = run("up", "--yes")
    assert ended.code == 13
    assert "  ✗ node " in ended.err
    assert "not started: network, addons, remove, verify" in ended.err
    assert "error: " in ended.err and "connection refused" in ended.err


@pytest.mark.parametrize("events", [False, True], ids=["console", "events"])
def test_a_run_that_nobody_reads_any_more_ends_what_was_begun_and_stops(
    built: World, monkeypatch: pytest.MonkeyPatch, events: bool,
) -> None:
    read, write = os.pipe()
    acted: list[str] = []

    def acts(name: str) -> Phase:
        def act(opened: session.Session) -> str:
            os.close(read)
            for number in range(3):
                opened.tell("diagnostic", message=f"{name} {number}")
            acted.append(name)
            return "1 host"

        return Phase(name, f"does {name}", act)  # type: ignore[arg-type]

    with built.session() as opened, os.fdopen(write, "w") as stream:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout" if events else "stderr", stream)
            opened.run.emit = readers(Context(), opened, events)
            with pytest.raises(Interrupted) as stopped:
                engine.run(opened, [acts("one"), acts("two")])
        kept = (opened.run.directory / "events.jsonl").read_text(encoding="utf-8")
    assert acted == ["one"] and stopped.value.details[0] == "not started: two"
    assert all(f'"one {number}"' in kept for number in range(3)) and '"run-end"' in kept, "its own record goes on"


def test_up_asks_on_a_terminal_and_no_means_no(built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drift(built)
    asked: list[str] = []
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda question, **_: bool(asked.append(question)))
    for words in (["up"], ["up", "--events"]):
        ended = run(*words)
        assert (ended.code, asked.pop()) == (0, "Change cluster lab?")
        assert f"~ {KUBELET}" in ended.err, "who is asked sees the whole plan first"
        assert "Nothing was changed." in ended.err
    assert built.hosts.log == []
    assert run("up", "--yes").code == 0
    assert built.hosts.log == [("apply", "node.0", ("w1",))]


def test_credentials_and_bundles_do_not_outlive_their_run(built: World, run: Run) -> None:
    drift(built)
    assert run("up", "--yes").code == 0
    for run_dir in built.inventory.runs_dir.iterdir():
        assert not (run_dir / "credentials").exists()
        assert not list(run_dir.glob("bundles/*/w1.json"))


def test_status_of_a_healthy_cluster_is_a_table_and_exits_0(built: World, run: Run) -> None:
    ended = run("status")
    assert (ended.code, ended.err) == (0, "")
    head, columns, *rows = ended.out.splitlines()
    assert head.startswith("Cluster lab   healthy   Kubernetes 1.36.3") and "(VIP on cp1)" in head
    assert columns.split() == ["HOST", "ROLES", "VERSION", "API", "ETCD", "KUBELET", "CERTS", "DRIFT"]
    assert rows[0].split() == ["cp1", "etcd", "cp", "lb", "1.36.3", "ok", "leader", "4.1", "MB", "Ready", "364d", "-"]
    assert rows[3].split() == ["w1", "worker", "1.36.3", "-", "-", "Ready", "364d", "-"]
    assert rows[5] == "Quorum   3 of 3, can lose 1"
    assert "Attention" not in ended.out


def test_status_names_everything_that_is_not_well_and_exits_13(built: World, run: Run) -> None:
    drift(built)
    built.hosts.hosts["cp2"].states["unit", "etcd.service"] = "failed enabled current"
    for name in ("cp1", "cp2", "cp3"):
        built.hosts.hosts[name].states["unit", "keepalived.service"] = "inactive enabled current"
    built.hosts.broken = {"kube-apiserver /readyz": "503: etcd failed"}
    built.api.put("/api/v1/nodes/w2", node("w2", ready=False))
    ended = run("status")
    assert ended.code == 13
    attention = ended.out.split("Attention\n")[1]
    for words in ("cp2: etcd.service is not running",
                  f"w1: 1 difference from the inventory: kubewright -i {built.inventory.path} plan",
                  "cp3: API: 503: etcd failed", "w2: kubelet: cni is not initialized", "2 of 3 members answer",
                  "VIP 10.77.0.10 is on no host"):
        assert words in attention
    assert "Quorum   2 of 3, can lose 0" in ended.out


def test_status_as_json_says_whether_it_is_healthy(built: World, run: Run) -> None:
    document = json.loads(run("status", "-o", "json").out)
    assert (document["schema_version"], document["healthy"], document["attention"]) == (1, True, [])
    assert [h["host"] for h in document["hosts"]] == ["cp1", "cp2", "cp3", "w1", "w2"]
    built.hosts.hosts["w1"].states["unit", "kubelet.service"] = "failed enabled current"
    ended = run("status", "-o", "json")
    document = json.loads(ended.out)
    assert (ended.code, document["healthy"]) == (13, False)
    (found,) = [f for f in document["findings"] if f["check"] == "units"]
    assert (found["host"], found["saw"], found["code"]) == ("w1", "kubelet.service is not running", "units")
    assert "every unit runs" in found["expected"]


def test_status_shows_all_that_can_be_seen_while_a_host_is_down(built: World, run: Run) -> None:
    built.hosts.hosts["cp1"].down = True
    ended = run("status")
    assert ended.code == 13
    table = {line.split()[0]: line.split() for line in ended.out.splitlines() if line.startswith(("cp", "w"))}
    assert list(table) == ["cp1", "cp2", "cp3", "w1", "w2"]
    assert table["cp1"].count("?") == 4, "neither its API server, member, certificates nor differences were seen"
    assert "VIP 10.77.0.10 is on no host that answers; not seen: cp1" in ended.out, "it may well have it"
    assert "ok" in table["cp2"] and "Ready" in table["w1"]
    assert "cp1: connecting: no route" in ended.out
    assert "Quorum   2 of 3, can lose 0" in ended.out


def test_ready_says_one_line_when_the_cluster_is_healthy(built: World, run: Run) -> None:
    assert run("ready") == Ended(0, "Cluster lab is healthy.\n", "")


def test_ready_waits_until_it_is_so(built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    built.hosts.hosts["w1"].states["unit", "kubelet.service"] = "activating enabled current"
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            built.hosts.hosts["w1"].states["unit", "kubelet.service"] = "active enabled current"

    monkeypatch.setattr("time.sleep", nap)
    assert run("ready").code == 0
    assert len(naps) == 3


def test_ready_waits_in_one_login_for_what_hosts_need_not_be_asked_for_and_asks_all_anew(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status = built.api.objects["/apis/apps/v1/namespaces/kube-system/deployments/metrics-server"]["status"]
    there, naps, before = status["availableReplicas"], [], built.sessions
    status["availableReplicas"] = 0

    def nap(seconds: float) -> None:
        naps.append((seconds, len(built.hosts.probed)))
        if len(naps) == 3:
            status["availableReplicas"] = there

    monkeypatch.setattr("time.sleep", nap)
    assert run("ready").code == 0
    assert built.sessions == before + 1 and len(naps) == 3
    assert {probed for _, probed in naps} == {naps[0][1]} and len(built.hosts.probed) == 2 * naps[0][1], "hosts twice"


def test_ready_exits_13_at_its_deadline_with_what_it_waited_for(built: World, run: Run) -> None:
    built.hosts.hosts["w1"].down = True
    ended = run("ready", "--timeout", "5")
    assert ended.code == 13
    assert "not healthy after 5 s" in ended.err and "w1: connecting" in ended.err


def test_ready_does_not_wait_for_what_waiting_cannot_change(built: World, run: Run) -> None:
    shutil.rmtree(built.inventory.secrets_dir)
    assert run("ready", "--timeout", "600").code == 15


def test_before_the_first_up_status_says_one_sentence_and_asks_nobody_in_vain(world: World, run: Run) -> None:
    ended = run("status")
    assert (ended.code, ended.out) == (13, f"Cluster lab   not built yet: kubewright -i {world.inventory.path} up\n")
    assert world.hosts.probed == []
    told = json.loads(run("status", "-o", "json").out)
    assert (told["healthy"], told["built"], told["attention"]) == (False, False, ["not built yet: kubewright up"])


def test_before_the_first_up_ready_does_not_wait_and_kubeconfig_says_why_there_is_none(world: World, run: Run) -> None:
    for words in (["ready", "--timeout", "600"], ["kubeconfig"]):
        ended = run(*words)
        assert (ended.code, ended.out) == (13, "")
        assert ended.err == ("error: cluster lab is not built yet\n"
                             f"hint: kubewright -i {world.inventory.path} up\ncode: not-built\n")


def test_ready_waits_while_a_run_builds_the_cluster(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.orchestrate.lock.cluster_lock.line", lambda session: "ops on here (run r1)")
    ended = run("ready", "--timeout", "5")
    assert ended.code == 13 and "not healthy after 5 s" in ended.err


def test_while_an_etcd_host_is_not_seen_nobody_says_that_there_is_no_cluster(world: World, run: Run) -> None:
    world.hosts.hosts["cp1"].down = True
    assert "not built yet: " not in run("status").out.splitlines()[0]
    assert "not built yet" not in run("kubeconfig").err


def test_several_holders_of_the_vip_are_named_in_the_head_line(built: World, run: Run) -> None:
    built.hosts.holders = {"cp2"}
    ended = run("status")
    assert ended.code == 13 and "API 10.77.0.10:8443 (VIP on cp1, cp2)" in ended.out.splitlines()[0]


@pytest.mark.parametrize("value", ["-1", "nan", "soon"])
def test_ready_takes_no_time_before_now(built: World, run: Run, value: str) -> None:
    assert run("ready", "--timeout", value).code == 64


def test_kubeconfig_holds_everything_and_is_private_from_its_creation(
        built: World, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "admin.conf"
    ended = run("kubeconfig", "--output", str(target))
    assert (ended.code, ended.out) == (0, "")
    assert f"kubectl --kubeconfig {target} get nodes" in ended.err
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    document = yaml.safe_load(target.read_text())
    (cluster,), (user,) = document["clusters"], document["users"]
    assert cluster["cluster"]["server"] == "https://10.77.0.10:8443"
    pem = base64.b64decode(cluster["cluster"]["certificate-authority-data"]).decode()
    assert pem == built.secrets().public()["ca.crt"]
    assert b"CERTIFICATE" in base64.b64decode(user["user"]["client-certificate-data"])
    seen = pki.read(base64.b64decode(user["user"]["client-certificate-data"]).decode(),
                    built.secrets().ca_certificates())
    assert seen is not None and (seen.issued_by, seen.common_name, seen.client) == ("cluster", "operator:lab", True)
    assert seen.organization == "", "rights come by the name, which `up` binds, and by no group"
    assert 89 < (seen.not_after - time.time()) / 86400 < 91
    assert pki.is_pair(base64.b64decode(user["user"]["client-certificate-data"]).decode(),
                       base64.b64decode(user["user"]["client-key-data"]).decode())
    assert document["current-context"] == document["contexts"][0]["name"] == "kubewright-lab"
    assert [p.name for p in tmp_path.glob(".admin.conf*")] == []


def test_kubeconfig_replaces_an_old_file_whole_and_makes_it_private(built: World, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "admin.conf"
    target.write_text("old")
    target.chmod(0o644)
    run("kubeconfig", "--output", str(target))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "old" not in target.read_text()


def test_kubeconfig_goes_to_stdout_where_no_file_is_named(built: World, run: Run) -> None:
    ended = run("kubeconfig")
    assert yaml.safe_load(ended.out)["kind"] == "Config"
    assert ended.err == ""


def test_each_operator_is_an_administrator_by_a_name_of_their_own_and_no_other_is(built: World) -> None:
    with built.session() as opened:
        objects = survey(opened).desired.objects
    binding = next(o.body for o in objects if o.body["metadata"]["name"] == "kubewright:cluster-admins")
    assert {(s["kind"], s["name"]) for s in binding["subjects"]} == {
        ("Group", "kubewright:cluster-admins"), ("User", "operator:lab")}


def test_who_is_no_operator_is_told_of_the_shared_credentials(built: World, run: Run) -> None:
    operator_key(built.key)
    ended = run("kubeconfig")
    assert (ended.code, ended.out) == (10, "")
    assert "none of your keys is that of one of the `operators:`" in ended.err
    assert "kubeconfig --shared" in ended.err


def test_the_shared_kubeconfig_is_fetched_from_another_control_plane_when_the_first_has_none(
        built: World, run: Run) -> None:
    del built.hosts.hosts["cp1"].states["key", "/etc/kubernetes/pki/admin.key"]
    document = yaml.safe_load(run("kubeconfig", "--shared").out)
    assert b"of cp2" in base64.b64decode(document["users"][0]["user"]["client-key-data"])


def test_kubeconfig_that_no_host_has_names_every_host_it_asked(built: World, run: Run) -> None:
    for host in built.hosts.hosts.values():
        host.extras.pop(("certificate", ADMIN.path), None)
    ended = run("kubeconfig", "--shared")
    assert ended.code == 13
    assert all(f"{h}: reading" in ended.err for h in ("cp1", "cp2", "cp3"))


def test_compile_before_the_first_up_writes_every_file_and_says_why_there_are_no_bundles(
        world: World, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("compile", "--out", str(out))
    assert ended.code == 0 and "No bundles" in ended.err and "up" in ended.err
    assert "podPidsLimit: 4096" in (out / "hosts" / "w1" / KUBELET.lstrip("/")).read_text()
    assert not (out / "bundles").exists() and not world.inventory.secrets_dir.exists()
    assert world.hosts.log == []


def test_compile_writes_every_file_and_private_bundles_of_what_differs(built: World, run: Run, tmp_path: Path) -> None:
    drift(built)
    out = tmp_path / "out"
    ended = run("compile", "--out", str(out))
    assert ended.code == 0
    assert "1 host differs" in ended.err and "--check --diff" in ended.err
    assert "podPidsLimit: 4096" in (out / "hosts" / "w1" / KUBELET.lstrip("/")).read_text()
    (bundle,) = (out / "bundles").glob("*.json")
    assert bundle.name == "w1.json"
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE((out / "bundles").stat().st_mode) == 0o700
    assert not [p for p in (out / "hosts").rglob("*.key")], "secrets are in the bundles only"
    assert built.hosts.log == []


def test_there_is_work_wherever_something_differs_or_no_cluster_was_ever_up() -> None:
    from provisioner.model.desired import Desired

    assert not Plan("lab", Desired({})).has_work
    assert Plan("lab", Desired({}), bootstrap=True).has_work


def test_up_changes_as_many_workers_at_a_time_as_it_was_told(built: World, run: Run) -> None:
    for host in ("w1", "w2"):
        built.hosts.hosts[host].states["file", KUBELET] = "file sha256:by-hand 0600 root:root"
    assert run("up", "--yes", "--max-unavailable", "100%").code == 0
    assert [e[2] for e in built.hosts.log if e[0] == "apply"] == [("w1", "w2")]
    refused = run("up", "--yes", "--max-unavailable", "0")
    assert (refused.code, "neither a number from 1" in refused.err) == (64, True)


@pytest.mark.parametrize("verb", ["drift", "plan", "status"])
def test_where_nobody_can_be_reached_every_verb_ends_with_12(built: World, run: Run, verb: str) -> None:
    built.inventory.applied_path.unlink(missing_ok=True)
    for host in built.hosts.hosts.values():
        host.down = True
    assert run(verb).code == 12
