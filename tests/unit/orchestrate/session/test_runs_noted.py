"""What runs did: told by this machine's events, by the hosts' notes and results, or by both."""

from __future__ import annotations

import json
import shutil

import pytest

from provisioner.errors import Interrupted, KubewrightError, LockHeld, RefusedForSafety, UsageFault
from provisioner.model.run import DONE, FAILED, INTERRUPTED, RUNNING, UNFINISHED, Origin, Run, split_step
from provisioner.orchestrate.lock import cluster_lock
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import engine
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verbs import UP, VERIFY
from provisioner.orchestrate.session import runs
from provisioner.orchestrate.session.session import Session
from provisioner.report.console import to_file
from tests.fakes.session import World

KUBELET = "/var/lib/kubelet/config.yaml"
RUN = "20261125-182815-82cb"


def opened(world: World, run_id: str = RUN) -> Session:
    """Open a session that keeps its events as a run does."""
    session = world.session()
    session.run.id = run_id
    session.run.directory = session.run.directory.rename(session.run.directory.with_name(run_id))
    session.run.emit = to_file(session.run.directory / "events.jsonl")
    session.run.origin = Origin("up", "ops", "desk", "abc")
    session.run.options = Intent(max_unavailable="2").to_json()
    return session


def edited(world: World, host: str = "w1") -> None:
    world.hosts.hosts[host].edit(KUBELET, "file sha256:by-hand 0600 root:root", "podPidsLimit: 5\n",
                                 unit="kubelet.service")


def ran(world: World) -> None:
    edited(world)
    with opened(world) as session:
        survey(session)
        engine.run(session, UP)


def seen_by_others(world: World) -> Run:
    """Return the run as a machine without its events knows it."""
    with world.session() as session:
        (run,) = runs.on_hosts(session)
        return runs.with_steps(session, run)


def test_a_run_is_read_back_from_its_events(built: World) -> None:
    ran(built)
    (run,) = runs.here(built.inventory)
    assert (run.id, run.outcome, run.here, run.origin) == (RUN, DONE, True, Origin("up", "ops", "desk", "abc"))
    assert run.changes == 2 and run.options["max_unavailable"] == "2"
    assert [p.name for p in run.phases] == [p.name for p in UP]


def test_another_machine_knows_the_run_from_the_hosts_alone(built: World) -> None:
    ran(built)
    shutil.rmtree(built.inventory.runs_dir)
    run = seen_by_others(built)
    assert (run.id, run.outcome, run.here, run.origin) == (RUN, DONE, False, Origin("up", "ops", "desk", "abc"))
    assert (run.changes, run.options["max_unavailable"]) == (2, "2")
    assert [(s.host, s.name, s.status, s.made) for s in run.steps] == [("w1", "node.0", "done", 2)]


def test_a_run_that_was_killed_has_no_end_anywhere(built: World) -> None:
    edited(built)
    with opened(built) as session:
        survey(session)
        runs.begin(session, ["node"])
        session.tell("run-start", message=RUN, data={"phases": ["node"]})
    assert [r.outcome for r in runs.here(built.inventory)] == [UNFINISHED]
    assert seen_by_others(built).outcome == UNFINISHED


def test_a_run_that_holds_the_lock_elsewhere_is_not_taken_for_a_killed_one(built: World) -> None:
    edited(built)
    with opened(built) as session:
        survey(session)
        with cluster_lock.look(session).held():
            runs.begin(session, ["node"])
            with built.session() as other:
                assert [r.outcome for r in runs.on_hosts(other, cluster_lock.alive(other))] == [RUNNING]
    with built.session() as other:
        assert [r.outcome for r in runs.on_hosts(other, cluster_lock.alive(other))] == [UNFINISHED]


def test_a_run_that_only_looks_leaves_no_trace_on_the_hosts(built: World) -> None:
    with opened(built) as session:
        survey(session)
        engine.run(session, VERIFY)
    assert all(not host.notes for host in built.hosts.hosts.values())
    assert [r.outcome for r in runs.here(built.inventory)] == [DONE]


def test_objects_that_were_applied_are_noted_on_the_control_planes_alone(built: World) -> None:
    for path in [p for p in built.api.objects if p.endswith("/deployments/coredns")]:
        del built.api.objects[path]
    with opened(built) as session:
        survey(session)
        engine.run(session, UP)
    acts = {h: [a["act"] for a in host.notes.get(RUN, [])] for h, host in built.hosts.hosts.items()}
    assert acts["cp1"] == acts["cp3"] == ["begin", "objects", "end"]
    assert acts["w1"] == []


@pytest.mark.parametrize(("stop", "outcome"), [(KeyboardInterrupt(), INTERRUPTED), (Interrupted("x"), INTERRUPTED),
                                               (KubewrightError("broke"), FAILED)])
def test_how_a_run_was_ended_is_told(built: World, stop: BaseException, outcome: str) -> None:
    edited(built)

    def end() -> None:
        raise stop

    with opened(built) as session, pytest.raises(KubewrightError):
        survey(session)
        session.run.safe_points.append(end)
        engine.run(session, UP)
    (run,) = runs.here(built.inventory)
    assert run.outcome == outcome and "node" in run.not_started
    if not isinstance(stop, KeyboardInterrupt):
        assert seen_by_others(built).outcome == outcome


def test_a_step_that_runs_still_is_told_as_such(built: World) -> None:
    ran(built)
    built.hosts.hosts["cp2"].running = [f"{RUN}.control-plane.1"]
    assert [(s.host, s.name, s.status) for s in seen_by_others(built).steps][-1] == ("cp2", "control-plane.1", RUNNING)


def test_a_run_known_to_both_is_told_once_newest_first() -> None:
    mine = [Run("20260102-000000-0001", Origin(), DONE, 2.0)]
    theirs = [Run("20260103-000000-0001", Origin(), DONE, 3.0, here=False),
              Run("20260102-000000-0001", Origin(), UNFINISHED, 2.0, here=False)]
    assert [(r.id, r.here) for r in runs.merged(mine, theirs)] == [
        ("20260103-000000-0001", False), ("20260102-000000-0001", True)]


def test_a_run_is_named_by_the_beginning_of_its_id_if_only_one_begins_so() -> None:
    known = [Run("20260103-000000-0001", Origin(), DONE, 3.0), Run("20260102-000000-0001", Origin(), DONE, 2.0)]
    assert runs.pick(known, None).id == runs.pick(known, "20260103").id == "20260103-000000-0001"
    for wrong in ("2026", "x"):
        with pytest.raises(UsageFault):
            runs.pick(known, wrong)
    with pytest.raises(UsageFault, match="no run yet"):
        runs.pick([], None)


def test_a_file_that_somebody_put_among_the_runs_is_no_run(built: World) -> None:
    built.inventory.runs_dir.mkdir(parents=True, exist_ok=True)
    (built.inventory.runs_dir / "notes.txt").write_text("look at the second one")
    assert "notes.txt" not in [run.id for run in runs.here(built.inventory)]


def test_a_last_line_that_was_cut_off_is_left_out(built: World) -> None:
    ran(built)
    with (built.inventory.runs_dir / RUN / "events.jsonl").open("a") as file:
        file.write(json.dumps({"type": "changed"})[:9])
    assert [r.outcome for r in runs.here(built.inventory)] == [DONE]


def test_step_ids_of_runs_are_taken_apart_and_others_are_not() -> None:
    assert split_step(f"{RUN}.control-plane.1") == (RUN, "control-plane.1")
    assert split_step("by-hand") is None


def test_a_live_run_and_one_of_another_inventory_are_not_gone_on_with(built: World,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "load_lock", lambda path: built.hosts.lock)
    now = runs.made_from(built.inventory.cluster, built.hosts.lock)
    with pytest.raises(LockHeld):
        runs.may_go_on(built.inventory, Run(RUN, Origin(), RUNNING, 1.0), moved=True)
    runs.may_go_on(built.inventory, Run(RUN, Origin(inventory=now), FAILED, 1.0), moved=False)
    other = Run(RUN, Origin(inventory="other"), FAILED, 1.0)
    with pytest.raises(RefusedForSafety) as refused:
        runs.may_go_on(built.inventory, other, moved=False)
    assert (refused.value.code, refused.value.exit_code) == ("inventory-moved", 15)
    runs.may_go_on(built.inventory, other, moved=True)


def test_logins_do_not_make_it_another_inventory(built: World) -> None:
    cluster = built.inventory.cluster
    moved = cluster.model_copy(update={"operators": ("ssh-ed25519 AAAA other",)})
    assert runs.made_from(cluster, built.hosts.lock) == runs.made_from(moved, built.hosts.lock)


