"""Saved plans, change rules and drift as people meet them, on hosts in memory."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from provisioner.artifacts.lockfile import write_lock
from provisioner.converge.results import HostResult
from provisioner.model.applied import HOST_PATH
from provisioner.model.inventory import Inventory
from provisioner.model.plan_document import plan_schema
from provisioner.orchestrate.plan.survey import survey
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import KUBELET, Run, built, drift, run, world  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parents[3]
Change = Callable[..., None]


@pytest.fixture(autouse=True)
def pinned(world: World) -> None:  # noqa: F811 - a fixture
    """Put artifacts.lock beside the inventory: a saved plan is held against it."""
    write_lock(world.inventory.artifacts_lock_path, world.hosts.lock)


@pytest.fixture
def change(built: World) -> Change:  # noqa: F811 - a fixture
    """Return a function that changes the inventory's file by dotted paths; None takes a value away."""

    def edit(values: dict[str, Any]) -> None:
        document = yaml.safe_load(built.inventory.file.read_text())
        for path, value in values.items():
            *parents, last = path.split(".")
            place = document
            for parent in parents:
                place = place.setdefault(parent, {})
            place.pop(last) if value is None else place.__setitem__(last, value)
        built.inventory.file.write_text(yaml.safe_dump(document, sort_keys=False))
        built.inventory = Inventory.open(built.inventory.path)

    return edit


def kept(tmp_path: Path, run: Run) -> Path:  # noqa: F811
    file = tmp_path / "plan.json"
    assert run("plan", "--out", str(file)).code == 0
    return file


def applied_steps(world: World) -> list[Any]:  # noqa: F811
    return [entry[1:] for entry in world.hosts.log]


def test_a_saved_plan_is_private_holds_what_a_reviewer_reads_and_names_the_command(
        built: World, run: Run, tmp_path: Path) -> None:  # noqa: F811
    drift(built)
    file = tmp_path / "plan.json"
    ended = run("plan", "--out", str(file))
    assert f"Saved. To do exactly this: kubewright -i {built.inventory.path} up --plan {file}" in ended.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    document = json.loads(file.read_text())
    assert {c["path"] for c in document["changes"]} == {KUBELET, "kubelet.service"}
    assert "+" in next(c["diff"] for c in document["changes"] if c["path"] == KUBELET)
    assert [p.name for p in tmp_path.glob(".plan.json*")] == []


def test_a_saved_plan_is_shown_as_it_was_and_no_host_is_asked(
        built: World, run: Run, tmp_path: Path) -> None:  # noqa: F811
    drift(built)
    file = tmp_path / "plan.json"
    said = run("plan", "--out", str(file), "--diff").out
    built.hosts.hosts.clear()
    ended = run("plan", "show", str(file), "--diff")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.strip() == said[:said.index("Saved.")].strip()
    assert json.loads(run("-o", "json", "plan", "show", str(file)).out)["changed_since"] == []


def test_a_saved_plan_that_up_would_refuse_is_shown_and_told_so(
        built: World, run: Run, tmp_path: Path) -> None:  # noqa: F811
    drift(built)
    file = tmp_path / "plan.json"
    run("plan", "--out", str(file))
    text = built.inventory.file.read_text().replace("10.77.0.22", "10.77.0.23")
    built.inventory.file.write_text(text)
    ended = run("plan", "show", str(file))
    assert ended.code == 0 and "Plan: " in ended.out
    assert "cluster.yaml: changed since the plan was made: `up --plan` refuses it" in ended.err


def test_what_is_no_plan_is_not_shown(built: World, run: Run, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "x").write_text("{}")
    assert run("plan", "show", str(tmp_path / "x")).code == 64
    assert run("plan", "show", str(tmp_path / "none")).code == 64


def test_up_applies_a_saved_plan_exactly_and_asks_nobody(
        built: World, run: Run, tmp_path: Path) -> None:  # noqa: F811
    drift(built)
    assert run("up", "--plan", str(kept(tmp_path, run))).code == 0
    assert applied_steps(built) == [("node.0", ("w1",))]


@pytest.mark.parametrize(("then", "now", "words"), [
    ({"w1"}, {"w1", "w2"}, [r"w2: file .*config\.yaml: not in the plan: change, ",
                            r"w2: unit kubelet\.service: not in the plan: restart, "]),
    ({"w1", "w2"}, {"w1"}, [r"w2: file .*config\.yaml: in the plan, and no longer to be done",
                            r"w2: unit kubelet\.service: in the plan, and no longer to be done"]),
])
def test_up_refuses_a_plan_with_16_naming_what_came_or_went(
        built: World, run: Run, tmp_path: Path, then: set[str], now: set[str], words: list[str]) -> None:  # noqa: F811
    healthy = {h: deepcopy(built.hosts.hosts[h]) for h in ("w1", "w2")}
    for host in then:
        drift(built, host)
    file = kept(tmp_path, run)
    for host in ("w1", "w2"):
        built.hosts.hosts[host] = healthy[host]
        if host in now:
            drift(built, host)
    ended = run("up", "--plan", str(file))
    assert ended.code == 16
    assert "2 things have moved since this plan was made; nothing was changed" in ended.err
    assert all(re.search(pattern, ended.err) for pattern in words)
    assert f"hint: kubewright -i {built.inventory.path} plan --out {file}" in ended.err
    assert built.hosts.log == []


def test_up_refuses_a_plan_whose_file_was_changed_by_hand_once_more(
        built: World, run: Run, tmp_path: Path) -> None:  # noqa: F811
    drift(built)
    file = kept(tmp_path, run)
    built.hosts.hosts["w1"].states["file", KUBELET] = "file sha256:again 0600 root:root"
    ended = run("up", "--plan", str(file))
    assert ended.code == 16
    assert f"w1: file {KUBELET}: the plan saw 'file sha256:by-hand 0600 root:root', found " in ended.err
    assert built.hosts.log == []


@pytest.mark.parametrize(("words", "place", "why"), [
    (("plan", "--out"), "none/file", "none: there is no such directory"),
    (("kubeconfig", "--output"), "none/file", "none: there is no such directory"),
    (("compile", "--out"), "cluster.yaml/below", "cluster.yaml/below: writing the files: Not a directory"),
])
def test_a_place_that_takes_no_file_is_refused_before_any_host_is_asked(
        built: World, run: Run, tmp_path: Path, words: tuple[str, str], place: str, why: str) -> None:  # noqa: F811
    for host in built.hosts.hosts.values():
        host.down = True        # would be 12 if they were asked
    (tmp_path / "cluster.yaml").touch()
    done = run(*words, str(tmp_path / place))
    assert done.code == 64
    assert f"{tmp_path}/{why}" in done.err


def test_a_plan_made_from_another_inventory_is_refused_before_any_host_is_asked(
        built: World, run: Run, tmp_path: Path, change: Change) -> None:  # noqa: F811
    file = kept(tmp_path, run)
    change({"hosts.w1.labels": {"zone": "a"}})
    built.hosts.hosts["w1"].down = True         # would be 12 if it were asked
    ended = run("up", "--plan", str(file))
    assert ended.code == 16
    assert "cluster.yaml: changed since the plan was made" in ended.err


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 2}', "not json"])
def test_what_is_no_plan_is_a_usage_fault(built: World, run: Run, tmp_path: Path, text: str) -> None:  # noqa: F811
    file = tmp_path / "plan.json"
    file.write_text(text)
    ended = run("up", "--plan", str(file))
    assert ended.code == 64 and "not a plan of ours" in ended.err
    assert ended.err.endswith("plan --out FILE\n"), "the hint would write over the file"
    assert run("up", "--plan", str(tmp_path / "none")).code == 64


def test_a_plan_of_a_first_start_is_applied_although_the_cas_come_with_it(
        world: World, run: Run, tmp_path: Path) -> None:  # noqa: F811
    assert not world.inventory.secrets_dir.exists()
    assert run("up", "--plan", str(kept(tmp_path, run))).code == 0
    assert run("plan").out.startswith("No changes.")


def test_a_certificate_s_time_left_may_go_on_while_a_plan_waits() -> None:
    from provisioner.orchestrate.plan.saved import _lasting

    assert _lasting("expires in 20 days: below 30 %") == _lasting("expires in 19 days: below 30 %")
    assert _lasting("names differ: +a") != _lasting("names differ: +b")


def test_a_first_up_leaves_the_same_record_here_and_on_the_hosts_that_others_count_on(built: World) -> None:  # noqa: F811
    here = built.inventory.applied_path.read_text()
    assert "cluster: lab" in here
    for name, host in built.hosts.hosts.items():
        assert (("file", HOST_PATH) in host.states) == name.startswith("cp")
        if name.startswith("cp"):
            assert host.extras["file", HOST_PATH]["text"] == here


def test_what_a_live_cluster_cannot_be_given_is_refused_with_15_before_any_host_is_asked(
        built: World, run: Run, change: Change) -> None:  # noqa: F811
    change({"network.pods": ["10.245.0.0/16"]})
    for host in built.hosts.hosts.values():
        host.down = True
    for verb in ("up", "plan"):
        ended = run(verb)
        assert ended.code == 15
        assert "network.pods: 10.244.0.0/16 → 10.245.0.0/16: every node has" in ended.err
        assert "(pod-range-changed)" in ended.err and "no host was contacted" in ended.err


def test_all_refused_changes_are_told_together(built: World, run: Run, change: Change) -> None:  # noqa: F811
    change({"network.pods": ["10.245.0.0/16"], "cluster": "other"})
    ended = run("up", "--yes")
    assert ended.code == 15 and "2 changes are refused" in ended.err
    assert "cluster-renamed" in ended.err and "pod-range-changed" in ended.err


def test_another_machine_s_checkout_is_judged_by_what_the_hosts_know(
        built: World, run: Run, change: Change) -> None:  # noqa: F811
    built.inventory.applied_path.unlink()
    change({"network.pods": ["10.245.0.0/16"]})
    ended = run("up", "--yes")
    assert ended.code == 15
    assert f"compared with {HOST_PATH} on the hosts; nothing was changed" in ended.err
    assert built.hosts.log == []
    change({"network.pods": ["10.244.0.0/16"]})
    assert run("plan").code == 0
    assert built.inventory.applied_path.is_file(), "what the hosts said is kept for the next time"


def test_what_needs_a_word_is_named_by_plan_and_done_by_up_with_it_alone(
        built: World, run: Run, change: Change) -> None:  # noqa: F811
    change({"api.vip": "10.77.0.9"})
    shown = run("plan")
    assert shown.code == 0 and "`up` wants --allow vip-changed" in shown.out
    refused = run("up", "--yes")
    assert refused.code == 15
    assert f"hint: kubewright -i {built.inventory.path} up --allow vip-changed" in refused.err
    assert run("up", "--yes", "--allow", "vip-change").code == 64
    assert built.hosts.log == []


def test_a_saved_plan_keeps_what_was_allowed_and_so_does_whoever_goes_on_with_its_run(
        built: World, run: Run, change: Change, tmp_path: Path) -> None:  # noqa: F811
    change({"api.virtual_router_id": 7})
    file = tmp_path / "plan.json"
    assert run("plan", "--out", str(file)).code == 0
    assert run("up", "--plan", str(file)).code == 15
    assert run("up", "--plan", str(file), "--allow", "virtual-router-changed").code == 64
    assert run("plan", "--allow", "virtual-router-changed", "--out", str(file)).code == 0
    built.hosts.results["cp1"] = HostResult("cp1", "failed", message="broke")
    assert run("up", "--plan", str(file)).code == 13
    built.hosts.results.clear()
    ended = run("resume", "--yes", "--moved")
    assert ended.code == 0, ended.err
    assert run("plan").out.startswith("No changes."), "the record follows"


def test_a_worker_that_left_is_named_and_left_alone(built: World, run: Run, change: Change) -> None:  # noqa: F811
    change({"hosts.w2": None})
    ended = run("plan")
    assert ended.code == 0 and "hosts.w2: in the inventory → not there" in ended.out
    done = run("up", "--yes")
    assert done.code == 0 and "! hosts.w2: in the inventory → not there" in done.err
    assert all("w2" not in hosts for _, _, hosts in built.hosts.log)


def test_a_record_here_that_is_no_record_is_refused_and_the_way_on_named(built: World, run: Run) -> None:  # noqa: F811
    built.inventory.applied_path.write_text("by hand")
    ended = run("up", "--yes")
    assert ended.code == 15 and f"hint: rm {built.inventory.applied_path}" in ended.err


def test_a_record_on_a_host_that_was_edited_is_drift_and_judges_nobody(built: World, run: Run) -> None:  # noqa: F811
    built.hosts.hosts["cp2"].states["file", HOST_PATH] = "file sha256:x 0600 root:root"
    built.hosts.hosts["cp2"].extras["file", HOST_PATH] = {"text": "cluster: other"}
    assert run("up", "--yes").code == 0
    assert applied_steps(built) == [("verify.0", ("cp2",))]


def test_drift_is_what_plan_says_while_the_inventory_stays(built: World, run: Run) -> None:  # noqa: F811
    assert run("drift").out.startswith("No drift. 5 hosts are what the last `up` made them (checked ")
    drift(built)
    planned, drifted = (json.loads(run("-o", "json", verb).out) for verb in ("plan", "drift"))
    assert drifted.pop("inventory_digest") and planned.pop("inventory_digest")
    assert drifted == planned
    ended = run("drift")
    assert ended.code == 0 and "Drift: 2 differences on 1 of 5 hosts." in ended.out
    assert f"kubewright -i {built.inventory.path} up" in ended.out
    assert run("drift", "--detailed-exitcode").code == 2


def test_drift_is_not_what_the_inventory_asks_for_now(built: World, run: Run, change: Change) -> None:  # noqa: F811
    change({"config.kubelet": {"maxPods": 42, "failCgroupV1": False}})
    assert json.loads(run("-o", "json", "plan").out)["changes"]
    assert json.loads(run("-o", "json", "drift").out)["changes"] == []
    drift(built)
    (file, unit) = json.loads(run("-o", "json", "drift").out)["changes"]
    assert (file["path"], unit["action"]) == (KUBELET, "restart")


def test_drift_looks_at_a_host_that_has_left_the_inventory_and_can_do_without_it(
        built: World, run: Run, change: Change) -> None:  # noqa: F811
    change({"hosts.w2": None})
    drift(built, "w2")
    assert {c["host"] for c in json.loads(run("-o", "json", "drift").out)["changes"]} == {"w2"}
    built.hosts.hosts["w2"].down = True
    assert run("drift").code == 0
    built.hosts.hosts["w1"].down = True
    assert run("drift").code == 12


def test_drift_of_what_was_never_applied_is_a_usage_fault(world: World, run: Run) -> None:  # noqa: F811
    ended = run("drift")
    assert ended.code == 64 and "nothing was applied yet" in ended.err


def test_plan_and_drift_as_json_are_what_the_published_schema_says(
        world: World, run: Run, change: Change) -> None:  # noqa: F811
    published = json.loads((ROOT / "docs" / "reference" / "plan.schema.json").read_text())
    assert published == plan_schema()
    validator = Draft202012Validator(published)
    drift(world)
    change({"api.vip": "10.77.0.9", "hosts.w2": None})
    for words in (["plan"], ["drift"]):
        document = json.loads(run("-o", "json", *words).out)
        assert list(validator.iter_errors(document)) == []
        assert document["changes"] and document["stages"]
    assert list(validator.iter_errors(document | {"more": 1})) != []


def test_what_up_did_is_told_in_the_plan_s_own_words(built: World, run: Run) -> None:  # noqa: F811
    drift(built)
    with built.session() as session:
        plan = survey(session)
    assert run("up", "--yes").code == 0
    newest = max(built.inventory.runs_dir.glob("*/events.jsonl"), key=lambda f: f.stat().st_mtime)
    rows = [json.loads(line) for line in newest.read_text().splitlines()]
    did = [(r["host"], c["kind"], c["path"], c["reason"], c["result"]) for r in rows if r["type"] == "changed"
           for c in r["data"]["changes"]]
    assert did == [(c.host, c.kind, c.path, c.reason, "done") for c in plan.changes]


def test_a_first_up_tells_every_change_and_object_of_its_plan(world: World, run: Run) -> None:  # noqa: F811
    with world.session() as session:
        plan = survey(session)
    world.events.clear()
    assert run("up", "--yes").code == 0
    newest = max(world.inventory.runs_dir.glob("*/events.jsonl"), key=lambda f: f.stat().st_mtime)
    told = [json.loads(line) for line in newest.read_text().splitlines()]
    changes = {(r["host"], c["kind"], c["path"]) for r in told if r["type"] == "changed"
               for c in r["data"].get("changes", ())}
    objects = {o["identity"] for r in told if r["type"] == "changed" for o in r["data"].get("objects", ())}
    assert {(c.host, c.kind, c.path) for c in plan.changes} <= changes
    assert objects == {o.identity for o in plan.objects}


def test_a_plan_is_stale_when_a_server_left_the_load_balancers_meanwhile() -> None:
    from provisioner.model.desired import Desired
    from provisioner.model.plan import Plan
    from provisioner.orchestrate.plan.saved import moved
    from provisioner.report.plan_text import plan_json
    from tests.unit.compile.compile_fixture import inventory

    plan = Plan("lab", Desired({}))
    from provisioner.model.plan_document import PlanDocument

    document = {"schema_version": 1, **plan_json(plan, inventory())}
    saved = PlanDocument.model_validate_json(json.dumps(document))
    assert list(moved(saved, plan)) == []
    assert list(moved(saved, replace(plan, drained_servers={"cp1": ("w1",)}))) == [
        "cp1: out of service since the plan was made"]
