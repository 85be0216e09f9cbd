"""The prober beside a run: who it is, what it asks, when it stops the run; its own trouble is nobody's failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import yaml

from provisioner.decide import sample
from provisioner.errors import GateFailed, Interrupted
from provisioner.model.availability import Attempt, Budget
from provisioner.model.cluster import Cluster
from provisioner.model.events import Event
from provisioner.model.plan import DATA, FORGET, Change, MemberChange, Plan
from provisioner.operate import etcd, ledger
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import engine
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.watch import prober
from provisioner.orchestrate.watch.prober import Prober, Questions, during, is_needed, restarts
from provisioner.transport.sampling import Series
from tests.fakes.session import World
from tests.unit.compile.compile_fixture import LAB

REFUSED = Attempt("vip", 1.0, 0.0, "connection refused")
STRICT = Budget(failures=0)
RESTART = Change("cp1", "control-plane", "unit", "kube-apiserver.service", "restart", "", "active enabled due", "")


@contextmanager
def restarting(world: World) -> Iterator[Session]:
    """Open a session whose plan restarts an API server."""
    with world.session() as session:
        session.target.plan = replace(survey(session), changes=(RESTART,))
        world.events.clear()
        yield session


def results(world: World) -> list[Event]:
    return [e for e in world.events if e.type == "availability"]


def run(world: World, budget: Budget, *told: Attempt) -> Session:
    """Run two phases beside the prober; the first host tells `told` during the first."""

    def act(session: object) -> str:
        world.samples.go_on(*told)
        return ""

    with restarting(world) as session:
        engine.run(session, [Phase("one", "", act), Phase("two", "")], during(session, budget))  # type: ignore[arg-type]
    return session


@pytest.mark.parametrize(("change", "bootstrap", "needed"), [
    (RESTART, False, True),
    (replace(RESTART, action="reload"), False, True),
    (replace(RESTART, action="start", expect="absent"), False, False),
    (replace(RESTART, phase="pki", kind="file", action="change"), False, False),
    (RESTART, True, False),
])
def test_it_measures_where_something_that_serves_is_taken_away(
        built: World, change: Change, bootstrap: bool, needed: bool) -> None:
    with built.session() as session:
        plan: Plan = replace(survey(session), changes=(change,), bootstrap=bootstrap)
    assert (is_needed(plan), restarts(plan)) == (needed, needed)


@pytest.mark.parametrize(("more", "needed"), [
    ({"changes": (replace(RESTART, phase="etcd", kind=DATA, action="change"),)}, True),
    ({"members": (MemberChange("remove", "cp2"), MemberChange("add", "cp2"))}, True),
    ({"members": (MemberChange("add", "cp2"),), "bootstrap": True}, False),
    ({"members": (MemberChange(FORGET),)}, False),
])
def test_it_measures_a_member_that_answers_nobody_for_a_while_or_comes_or_goes_and_no_leave_is_asked_for_it(
        built: World, more: dict[str, Any], needed: bool) -> None:
    with built.session() as session:
        plan = replace(survey(session), **more)
    assert (is_needed(plan), restarts(plan)) == (needed, False)


def test_a_run_that_restarts_nothing_is_not_measured(built: World) -> None:
    with built.session() as session:
        survey(session)
        engine.run(session, [Phase("one", "")], during(session, STRICT))  # type: ignore[arg-type]
    assert (results(built), built.samples.series, session.run.safe_points) == ([], {}, [])


def test_the_result_stands_in_the_run_s_story_before_its_end_and_the_keys_are_gone(built: World) -> None:
    run(built, Budget())
    assert [e.type for e in built.events[-2:]] == ["availability", "run-end"]
    seen = results(built)[0]
    assert seen.status == "ok"
    assert seen.data is not None
    assert (seen.data["attempts"], seen.data["failures"], seen.data["writes"], seen.data["lost"]) == (16, 0, 1, 0)
    assert seen.data["leader_changes"] == 0
    assert sum(seen.data["timeline"]["curves"]["vip"]["attempts"]) == 1
    assert abs(seen.t - seen.data["began"]) < 60
    kept = [p for p in built.api.objects if p.startswith(ledger.KEYS + "/")]
    assert kept == [f"{ledger.KEYS}/{ledger.BEAT}"]
    assert ("DELETE", ledger.KEYS) in built.api.log


def test_an_acknowledged_write_that_is_not_there_is_lost(built: World) -> None:
    run(built, Budget(), Attempt("write", 1.0, number=1), Attempt("write", 1.5, number=2, why="no answer within 5 s"))
    seen = results(built)[0]
    assert (seen.status, seen.data and seen.data["lost"], seen.data and seen.data["writes"]) == ("failed", 1, 2)


def test_a_key_with_another_value_does_not_count_as_kept(built: World) -> None:
    with built.session() as session:
        name, labels = f"{session.run.id}-7", {ledger.RUN: session.run.id}
        built.api.put(f"{ledger.KEYS}/{name}", {"metadata": {"name": name, "labels": labels}, "data": {"number": "8"}})
        assert ledger.stored(session.access.kube(), session.run.id) == frozenset()


def test_failures_end_no_run_without_a_budget_but_are_told_with_their_reasons(built: World) -> None:
    run(built, Budget(), REFUSED, REFUSED)
    seen = results(built)[0]
    assert seen.status == "failed"
    assert seen.message.startswith("2 of 18 attempts failed")
    assert seen.data and any(line.startswith("vip from cp1: 2 of ") and "connection refused (2)" in line
                             for line in seen.data["details"])
    assert built.events[-1].status == "ok"


def test_a_spent_budget_stops_the_run_at_the_next_safe_point(built: World) -> None:
    with pytest.raises(GateFailed, match="budget is spent: failed attempts: 1, allowed are 0") as stopped:
        run(built, STRICT, REFUSED)
    assert (stopped.value.exit_code, stopped.value.code) == (13, "slo-spent")
    assert any("vip from cp1" in line for line in stopped.value.details)
    assert [e.phase for e in built.events if e.type == "phase-start"] == ["one"]
    assert len(results(built)) == 1


def test_a_budget_that_is_spent_in_the_last_phase_is_told_by_the_exit_code_too(built: World) -> None:
    with restarting(built) as session, pytest.raises(GateFailed, match="budget is spent"):
        engine.run(session, [Phase("one", "", lambda s: built.samples.go_on(REFUSED) or "")],  # type: ignore[arg-type]
                   during(session, STRICT))
    assert [(e.type, e.status) for e in built.events[-2:]] == [("availability", "failed"), ("run-end", "failed")]


def test_a_prober_that_cannot_begin_ends_no_run_but_one_with_a_budget(built: World) -> None:
    built.samples.blind |= set(built.hosts.hosts)
    run(built, Budget())
    assert [e.message for e in built.events if e.type == "diagnostic"] == ["prober: not seen: no host measures"]
    assert built.events[-1].status == "ok"
    built.events.clear()
    with pytest.raises(GateFailed, match="cannot be measured: no host measures"):
        run(built, STRICT)
    assert [e.phase for e in built.events if e.type == "phase-start"] == [], "nothing was begun"


def test_a_host_that_does_not_answer_is_not_seen_and_no_failure(built: World) -> None:
    built.samples.blind.add("cp3")
    run(built, STRICT)
    seen = results(built)[0]
    assert seen.status == "ok"
    assert seen.message.endswith("not seen for 7 s")
    assert seen.data and seen.data["details"] == ["cp3: not seen for 7.0 s: cp3: connecting: no route"]


def test_a_budget_is_not_kept_by_a_prober_that_hears_nothing_any_more(built: World) -> None:
    def falls_silent(session: object) -> str:
        (sampling,) = built.samples.running
        sampling.longest_unseen["w1"], sampling.faults["w1"] = 16.0, "w1: connecting: no route"
        sampling.longest_unseen["cp3"] = 600.0      # one that asks only for itself says nothing of the others
        return ""

    phases = [Phase("one", "", falls_silent), Phase("two", "")]  # type: ignore[arg-type]
    with restarting(built) as session, pytest.raises(GateFailed, match="nothing was heard of w1 for 16 s") as stopped:
        engine.run(session, phases, during(session, STRICT))
    assert (stopped.value.exit_code, stopped.value.code) == (13, "slo-not-measured")
    assert "w1: connecting: no route" in stopped.value.details
    assert [e.phase for e in built.events if e.type == "phase-start"] == ["one"]
    with restarting(built) as session:
        engine.run(session, phases, during(session, Budget()))
    assert built.events[-1].status == "ok", "without a budget nothing that happens to the prober ends a run"


def test_a_cluster_that_does_not_know_the_prober_yet_learns_it_from_the_plan(built: World) -> None:
    account = "/api/v1/namespaces/kubewright-prober/serviceaccounts/prober"
    del built.api.objects[account]
    run(built, Budget())
    assert account in built.api.objects
    del built.api.objects[account]
    with restarting(built) as session, pytest.raises(GateFailed, match="does not know the prober") as refused:
        Prober(session, STRICT).start()
    assert refused.value.hint == "kubewright up"


def test_ctrl_c_tells_what_was_measured_and_asks_the_cluster_nothing_more(built: World) -> None:
    def stop(session: object) -> str:
        built.api.refuse = 503
        raise KeyboardInterrupt

    with restarting(built) as session, pytest.raises(Interrupted):
        engine.run(session, [Phase("one", "", stop)], during(session, STRICT))  # type: ignore[arg-type]
    seen = results(built)[0]
    assert seen.data and seen.data["lost"] is None
    assert "unknown of 1 acknowledged writes lost" in seen.message


def test_new_leaders_are_counted_by_etcd_s_terms(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    terms = iter([7, 9])
    status = etcd.status
    monkeypatch.setattr(etcd, "status", lambda access, **more: replace(status(access, **more), raft_term=next(terms)))
    with restarting(built) as session:
        measured = Prober(session, Budget())
        measured.start()
        assert measured.stop().leader_changes == 2


def test_keys_of_runs_long_dead_are_removed_and_those_of_living_ones_stay(built: World) -> None:
    built.api.now = "2020-01-01T00:00:00Z"
    for run_id, created in (("dead", built.api.now), ("alive", "2099-01-01T00:00:00Z")):
        built.api.now = created
        built.api.answer("POST", ledger.KEYS, json.loads(ledger.key(run_id, "1")))
    with built.session() as session:
        ledger.prepare(session.access.kube())
    assert f"{ledger.KEYS}/dead-1" not in built.api.objects
    assert f"{ledger.KEYS}/alive-1" in built.api.objects


CLUSTER = Cluster.model_validate(yaml.safe_load(LAB))
HOSTS = [h.name for h in CLUSTER.machines]


def asked(cluster: Cluster, hosts: list[str]) -> dict[str, list[Series]]:
    questions = Questions(cluster, hosts, "run1")
    return {host: questions.of(host, "secret") for host in hosts}


def test_every_host_asks_its_own_way_and_a_worker_asks_through_the_vip() -> None:
    found = asked(CLUSTER, HOSTS)
    assert {h: sorted(str(s["name"]) for s in series) for h, series in found.items()} == {
        **{h: ["dns", "local"] for h in ("cp1", "cp2", "cp3", "w2")},
        "w1": ["dns", "local", "read", "service", "update", "vip", "watch", "write"]}
    by_name = {s["name"]: s for s in found["w1"]}
    assert by_name["vip"]["url"] == "https://10.77.0.10:8443/version"
    assert (by_name["vip"]["rate"], by_name["local"]["rate"]) == (10.0, 2.0)
    assert by_name["local"]["url"] == "https://127.0.0.1:7443/version"
    assert by_name["service"]["url"].startswith("https://10.96.0.1/")
    assert {s["timeout"] for series in found.values() for s in series} == {prober.TIMEOUT}
    body = json.loads(str(by_name["write"]["body"]).replace("{n}", "12"))
    assert (body["metadata"]["name"], body["data"]) == ("run1-12", {"number": "12"})


def test_without_workers_the_first_host_asks_and_without_our_network_nobody_asks_dns() -> None:
    masters = CLUSTER.model_copy(update={"network": CLUSTER.network.model_copy(update={"plugin": "none"})})
    found = asked(masters, ["cp2", "cp3"])
    assert [h for h, series in found.items() if any(s["name"] == "vip" for s in series)] == ["cp2"]
    assert not any(s["kind"] == "dns" for series in found.values() for s in series)


def test_the_prober_may_touch_keys_of_its_own_namespace_and_nothing_else(built: World) -> None:
    role = built.api.objects["/apis/rbac.authorization.k8s.io/v1/namespaces/kubewright-prober/roles/prober"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["configmaps"],
                              "verbs": ["create", "get", "list", "watch", "patch"]}]
    bound = [o for p, o in built.api.objects.items() if "rolebindings/" in p
             and any(s.get("name") == "prober" for s in o["subjects"])]
    assert [(o["kind"], o["metadata"].get("namespace")) for o in bound] == [("RoleBinding", "kubewright-prober")]


def test_of_a_large_cluster_a_bounded_number_of_hosts_measures_and_the_run_says_so(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample.measuring, "__defaults__", (4,))
    run(built, Budget())
    assert len(built.samples.series) == 4 and {"cp1", "cp2", "cp3"} < set(built.samples.series)
    assert [e.message for e in built.events if e.message.startswith("prober: ")] == [
        "prober: 4 of 5 hosts measure: the control planes and some others"]
