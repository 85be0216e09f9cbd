"""runs, resume and retry as people and programs meet them."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest

from provisioner.converge.results import HostResult
from provisioner.orchestrate.session import runs
from provisioner.report.story import story_of
from tests.fakes.session import World, operator_key
from tests.unit.cli.test_cluster_verbs import KUBELET, Run, built, drift, run, world  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def pinned(world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 - a fixture
    monkeypatch.setattr(runs, "load_lock", lambda path: world.hosts.lock)


def fail(world: World, run: Run, host: str = "w1") -> str:  # noqa: F811 - fixtures
    """Let a run end with `host` set aside, and return its id."""
    drift(world, host)
    world.hosts.results[host] = HostResult(host, "failed", message="broke")
    assert run("up", "--yes").code == 13
    world.hosts.results.clear()
    return str(json.loads(run("-o", "json", "runs", "list", "--here").out)["runs"][0]["id"])


def test_before_any_run_there_is_none(world: World, run: Run) -> None:  # noqa: F811
    assert run("runs", "list", "--here").out == "No runs yet.\n"
    ended = run("runs", "show")
    assert (ended.code, "there is no run yet" in ended.err) == (64, True)


def test_the_list_has_every_run_with_its_verb_and_outcome_newest_first(built: World, run: Run) -> None:  # noqa: F811
    fail(built, run)
    assert run("up", "--yes").code == 0
    rows = run("runs", "list").out.splitlines()
    assert rows[0].split() == ["RUN", "WHEN", "VERB", "WHO", "OUTCOME", "SECONDS", "CHANGES"]
    assert [next(w for w in ("done", "failed") if f" {w} " in row) for row in rows[1:3]] == ["done", "failed"]
    assert all(" up " in row for row in rows[1:3])


def test_one_run_is_shown_with_its_phases_and_what_a_host_said(built: World, run: Run) -> None:  # noqa: F811
    name = fail(built, run)
    shown = run("runs", "show", name).out
    assert f"Run {name}   up by " in shown and "failed" in shown
    assert "ended by: w1: applying: broke" in shown
    document = json.loads(run("-o", "json", "runs", "show", name).out)
    assert (document["schema_version"], document["run"]["outcome"]) == (1, "failed")


def test_one_run_has_one_number_of_changes_wherever_it_is_told(built: World, run: Run) -> None:  # noqa: F811
    drift(built, "w1")
    ended = run("up", "--yes")
    told = re.search(r"is ready in \S+\s+(\d+) changes?,", ended.err + ended.out)
    assert ended.code == 0 and told is not None and int(told[1]) > 0
    of_list = json.loads(run("-o", "json", "runs", "list", "--here").out)["runs"][0]
    story = story_of(of_list["id"], runs.events(runs.place(built.inventory, of_list["id"])))
    shown = json.loads(run("-o", "json", "runs", "show", of_list["id"]).out)["run"]
    assert {int(told[1]), of_list["changes"], shown["changes"], story.changes} == {int(told[1])}


def test_resume_does_what_is_left_with_the_options_of_the_run(built: World, run: Run) -> None:  # noqa: F811
    drift(built, "w1")
    drift(built, "w2")
    built.hosts.results = {h: HostResult(h, "failed", message="broke") for h in ("w1", "w2")}
    assert run("up", "--yes", "--max-unavailable", "2").code == 13
    built.hosts.results.clear()
    built.forget()
    ended = run("resume", "--yes")
    assert ended.code == 0 and "failed, 0 changes made" in ended.err
    assert built.hosts.log == [("apply", "node.0", ("w1", "w2"))], "two at a time, as that run was told"
    assert "Nothing to resume" in run("resume", "--yes").err


def test_resume_on_a_machine_that_knows_nothing_rebuilds_the_run_from_the_hosts(built: World, run: Run,  # noqa: F811
                                                                               ) -> None:
    name = fail(built, run)
    shutil.rmtree(built.inventory.runs_dir)
    assert f"{name} *" in run("runs", "list").out
    ended = run("resume", "--yes")
    assert ended.code == 0 and f"Run {name} by " in ended.err
    assert built.hosts.hosts["w1"].states["file", KUBELET] != "file sha256:by-hand 0600 root:root"


@pytest.mark.parametrize(("lose", "code", "said"), [
    (lambda place, key: shutil.rmtree(place), 15, "the cluster on these hosts has another CA than this inventory"),
    (lambda place, key: (place / "ca.key.age").unlink(), 15, "secret ca.key.age: not in "),
    (lambda place, key: operator_key(key), 10, "secret ca.key.age: none of your keys opens it"),
], ids=["no secrets", "one is missing", "the key of nobody's"])
def test_resume_without_the_secrets_that_it_needs_changes_nothing(
        built: World, run: Run, lose: Any, code: int, said: str) -> None:  # noqa: F811 - fixtures
    name = fail(built, run)
    drift(built, "cp1")         # comes first, and needs none
    built.hosts.hosts["w1"].states["certificate", "/etc/kubernetes/pki/kubelet.crt"] = "absent"
    lose(built.inventory.secrets_dir, built.key)
    built.forget()
    ended = run("resume", "--yes", name)
    assert (ended.code, said in ended.err, "nothing was changed" in ended.err) == (code, True, True), ended.err
    assert built.hosts.log == []


def test_resume_of_another_inventory_is_refused_until_it_is_meant(built: World, run: Run,  # noqa: F811
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    name = fail(built, run)
    monkeypatch.setattr(runs, "made_from", lambda cluster, lock: "moved")
    refused = run("resume", name)
    assert refused.code == 15 and "made from another inventory" in refused.err
    assert run("resume", name, "--yes").code == 15, "who is not asked has not said that it may be another"
    assert run("resume", name, "--yes", "--moved").code == 0


def test_when_no_control_plane_answers_only_this_machines_runs_are_told(built: World, run: Run) -> None:  # noqa: F811
    name = fail(built, run)
    for host in built.hosts.hosts.values():
        host.down = True
    ended = run("runs", "list")
    assert ended.code == 0 and name in ended.out and "Only runs of this machine" in ended.err


def test_retry_needs_a_host_that_exists(built: World, run: Run) -> None:  # noqa: F811
    assert run("retry", "--yes").code == 64
    assert run("retry", "--yes", "--host", "w9").code == 64
    fail(built, run)
    drift(built, "w2")
    assert run("retry", "--yes", "--host", "w1").code == 0
    assert ("apply", "node.0", ("w1",)) in built.hosts.log
    assert not any("w2" in entry[2] for entry in built.hosts.log if entry[0] == "apply")


def test_a_worker_can_be_left_out_and_the_end_says_so(built: World, run: Run) -> None:  # noqa: F811
    drift(built, "w1")
    built.hosts.hosts["w2"].down = True
    assert f"kubewright -i {built.inventory.path} up --without w2" in run("up", "--yes").err
    ended = run("up", "--yes", "--without", "w2")
    assert ended.code == 0 and "Left out: w2" in ended.out
