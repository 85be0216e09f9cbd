"""A minor on trial: what a run leaves, what other verbs do meanwhile, the ways on and back, and kills anywhere."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from provisioner.artifacts import supply
from provisioner.compile.parts import INPUTS_DIR
from provisioner.decide import legs, skew
from provisioner.errors import GateFailed, RefusedForSafety
from provisioner.model.applied import HOST_PATH, from_text
from provisioner.model.cluster import Cluster
from provisioner.model.releases import MINORS
from provisioner.model.trial import Trial
from provisioner.orchestrate.look import status
from provisioner.orchestrate.plan import running
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import upgrade, upgrade_back
from provisioner.orchestrate.run.look_ahead import look_ahead
from provisioner.orchestrate.run.options import Back, Intent
from provisioner.report.plan_text import plan_text
from tests.fakes.session import World, at_each_step
from tests.unit.compile.compile_fixture import compiled, inventory, lock

FROM, TO = "1.36.3", "1.37.2"
PLANES = ("cp1", "cp2", "cp3")
TRY = Intent("upgrade", soak=86_400.0)
FINISH = replace(TRY, finish=True)
BACK = Intent(upgrade_back.VERB)


class Killed(BaseException):
    """The machine that ran us is gone."""


@pytest.fixture
def old(built: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster of the older version whose inventory names the newer; etcd moves with it."""
    monkeypatch.setattr(upgrade, "_keep_data", lambda session: None)
    monkeypatch.setattr(supply, "known", tuple)
    monkeypatch.setitem(MINORS, "1.37", replace(MINORS["1.36"], releases=(TO,)))
    ask_for(built, TO, etcd="3.7.3", containerd="2.4.3")
    return built


def ask_for(world: World, version: str, **beside: str) -> None:
    document = world.inventory.cluster.model_dump(mode="json") | {"kubernetes": version}
    world.inventory = replace(world.inventory, cluster=Cluster.model_validate(document))
    world.hosts.lock = lock(kubernetes=version, **beside)


def state(world: World) -> skew.State:
    session = world.session(run=False)
    survey(session)
    return running.state(session)


def said(world: World, component: str) -> set[str]:
    """Return what a component runs, as the planner sees it on all hosts: `1.37.2 as 1.36`."""
    return {str(runs) for runs in skew.of(state(world), component)}


@pytest.fixture
def tried(old: World) -> World:
    """The same with the newer minor on trial."""
    old.perform(TRY)
    old.forget()
    return old


def test_control_planes_alone_get_the_new_programs_and_behave_as_the_old_minor(tried: World) -> None:
    assert said(tried, "etcd") == {"3.7.3"}
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        assert said(tried, name) == {f"{TO} as 1.36"}
    assert said(tried, "kubelet") == {FROM} and said(tried, "containerd") == {"2.4.2"}
    for host in PLANES:
        record = from_text(str(tried.hosts.hosts[host].extras["file", HOST_PATH]["text"]))
        assert record.trial is not None
        assert (record.cluster.kubernetes, record.nodes, record.trial.release) == (TO, FROM, FROM)
        before = {a.name: a.version for a in record.trial.lock_before(record.lock).artifacts}
        assert (before["kube-apiserver"], before["kubelet"], before["etcd"]) == (FROM, FROM, "3.7.3")


def test_the_flags_are_written_before_the_programs_and_taken_away_after_them() -> None:
    trial = Trial("1.36", "2026-01-01T00:00:00Z", FROM, ())
    for tried, first in ((trial, True), (None, False)):
        items = [i.path for i in compiled(inventory(), trial=tried).hosts["cp1"].items]
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            unit, link = f"/etc/systemd/system/{name}.service", f"/usr/local/bin/{name}"
            assert (items.index(unit) < items.index(link)) is first
            assert items.index(link) < items.index(f"{INPUTS_DIR}/{name}.service") < items.index(f"{name}.service")


def test_a_plain_up_and_upgrade_leave_it_as_it_is_and_status_says_until_when(tried: World) -> None:
    for intent in (Intent(), TRY):
        done = tried.perform(intent)
        assert not done.plan.changes and not done.plan.objects, (intent.verb, done.plan.changes[:3])
        assert [v.code for v in done.plan.verdicts] == ["on-trial"]
    seen = status.look(tried.session(run=False))
    assert "behaves as 1.36 until" in seen.trial and "upgrade --back" in seen.trial and not seen.warnings
    assert seen.hosts[0].drift == 0


def test_status_warns_when_its_time_is_up(old: World) -> None:
    old.perform(replace(TRY, soak=1e-9))
    seen = status.look(old.session(run=False))
    assert any("that time is up" in line for line in seen.warnings), seen.warnings


def test_it_goes_back_to_what_ran_and_then_forward_again_to_its_end(tried: World) -> None:
    tried.perform(BACK)
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"):
        assert said(tried, name) == {FROM}
    assert said(tried, "etcd") == {"3.7.3"}, "all members had moved"
    with pytest.raises(RefusedForSafety, match="no upgrade is under way") as nothing:
        tried.perform(BACK)
    assert nothing.value.code == "nothing-to-go-back"
    tried.perform(TRY)
    tried.perform(FINISH)
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"):
        assert said(tried, name) == {TO}
    assert said(tried, "containerd") == {"2.4.3"}
    tried.forget()
    assert not tried.perform().plan.has_work, "and then it is as `up` wants it"
    with pytest.raises(RefusedForSafety) as over:
        tried.perform(BACK)
    assert over.value.code == "nothing-to-go-back"


def test_a_minor_of_etcd_that_is_asked_for_meanwhile_moves_when_the_trial_has_ended(old: World) -> None:
    ask_for(old, TO, containerd="2.4.3")
    old.perform(TRY)
    ask_for(old, TO, etcd="3.7.3", containerd="2.4.3")
    seen: list[tuple[set[str], set[str]]] = []
    with at_each_step(old, lambda: seen.append((links(old, "etcd"), links(old, "kubelet")))):
        old.perform(FINISH)
    assert [nodes for members, nodes in seen if members != {"3.6.16"}] == [{TO}, {TO}], "as the legs say"
    assert said(old, "etcd") == {"3.7.3"} and said(old, "kube-apiserver") == {TO} == said(old, "kubelet")


def test_before_a_trial_ends_the_data_is_kept_as_before_it_began(
        tried: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []
    monkeypatch.setattr(upgrade, "_keep_data", lambda session: kept.append(session.run.id))
    tried.perform(FINISH)
    assert len(kept) == 1


def test_there_is_nothing_to_finish_without_a_trial(old: World) -> None:
    with pytest.raises(RefusedForSafety, match="on trial") as refused:
        old.perform(FINISH)
    assert refused.value.code == "no-trial" and old.hosts.log == []


def test_what_has_behaved_as_the_new_minor_does_not_go_back_and_up_does_not_take_it_there(tried: World) -> None:
    killed_after(tried, FINISH, "control-plane", 2)
    with pytest.raises(RefusedForSafety) as refused:
        tried.perform(BACK)
    assert refused.value.code == "minor-downgraded"
    with pytest.raises(RefusedForSafety) as half:
        tried.perform()
    assert half.value.code == "trial-half-way"
    tried.perform(TRY)       # its end has begun: plain `upgrade` goes on to it
    assert said(tried, "kube-apiserver") == {TO} == said(tried, "kubelet")


def test_after_a_trial_has_ended_no_server_goes_back_to_older_programs_than_kubelets_have(tried: World) -> None:
    kept = [row for row in tried.session(run=False).hosts.on("cp2").kept() if row.path.endswith("/kube-apiserver")]
    tried.perform(FINISH)
    tried.forget()
    with pytest.raises(RefusedForSafety) as refused:
        tried.perform(Intent("rollback", only=("cp2",), back=Back(component="kube-apiserver", run=kept[0].run)))
    assert refused.value.code == "controller-skew", refused.value
    assert "going back: " in refused.value.message
    assert any("kubelet-skew" in line for line in refused.value.details)
    assert said(tried, "kube-apiserver") == {TO}


def test_the_whole_way_is_shown_with_what_cannot_go_back(old: World) -> None:
    old.api.metrics = ('apiserver_requested_deprecated_apis{group="scheduling.k8s.io",removed_release="1.37",'
                       'resource="workloads",subresource="",version="v1alpha1"} 1\n')
    found = look_ahead(old.inventory, TRY, old.events.append)
    text = plan_text(found, old.inventory.cluster, seconds=0.0)
    assert "1 of 3: etcd 3.6.16 → 3.7.3" in text and "no way back from it: once its last member has moved" in text
    assert "2 of 3: kube-apiserver 1.36.3 → 1.37.2 as 1.36" in text and "on trial, behaving as 1.36, until" in text
    assert "3 of 3: with `upgrade --finish`: kube-apiserver 1.37.2 as 1.36 → 1.37.2" in text
    assert "drained: cp1, cp2, cp3, w1, w2" in text and old.hosts.log == []
    assert {stage.phase for stage in found.stages} & {"control-plane", "node"} == set()
    assert "removed-apis" not in [v.code for v in found.verdicts], "the minor before still has it"
    gone = look_ahead(old.inventory, replace(TRY, soak=0.0), old.events.append)
    assert "removed-apis" in [v.code for v in gone.verdicts]


def test_a_stop_names_the_way_on_and_the_way_back(old: World) -> None:
    def break_one() -> None:
        if any(event.type == "phase-start" and event.phase == "etcd" for event in old.events):
            old.hosts.broken = {"cp2: kube-apiserver /readyz": "500: etcd failed"}

    with at_each_step(old, break_one), pytest.raises(GateFailed, match="cp2") as stopped:
        old.perform(TRY)
    assert "to go back to what ran before instead: kubewright upgrade --back" in stopped.value.details
    assert "kubewright upgrade" in "\n".join((*stopped.value.details, stopped.value.hint))


LAST = "1.38.0"


@pytest.fixture
def behind(built: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster whose inventory names a release that is two minors later, with another minor of etcd."""
    monkeypatch.setattr(upgrade, "_keep_data", lambda session: None)
    for release in (TO, LAST):
        monkeypatch.setitem(MINORS, release.rpartition(".")[0], replace(MINORS["1.36"], releases=(release,)))
    monkeypatch.setattr(supply, "known", lambda: lock(kubernetes=TO).artifacts)
    ask_for(built, LAST, etcd="3.7.3", containerd="2.4.3")
    return built


def drained(world: World) -> list[str]:
    rows = [row for event in world.events if event.type == "changed" for row in (event.data or {}).get("objects", ())]
    return [row["identity"].removeprefix("Node ") for row in rows if "is drained" in row["reason"]]


def links(world: World, name: str) -> set[str]:
    found = {host.file(f"/usr/local/bin/{name}") for host in world.hosts.hosts.values()}
    return {link.split("/")[4].partition("-")[0] for link in found if link.startswith("link ")}


def test_several_minors_are_one_command_and_one_drain_a_node(behind: World) -> None:
    seen: list[tuple[set[str], set[str]]] = []
    with at_each_step(behind, lambda: seen.append((links(behind, "kube-apiserver"), links(behind, "kubelet")))):
        behind.perform(Intent("upgrade"))
    assert all(servers in ({FROM}, {FROM, TO}, {TO}, {TO, LAST}, {LAST}) for servers, _ in seen)
    assert [servers for servers, _ in seen if servers == {TO}] and {v for _, of in seen for v in of} <= {FROM, LAST}
    assert drained(behind) == [*PLANES, "w1", "w2"]
    for name, version in (("kube-apiserver", LAST), ("kubelet", LAST), ("etcd", "3.7.3"), ("containerd", "2.4.3")):
        assert said(behind, name) == {version}
    behind.forget()
    assert not behind.perform().plan.has_work


def test_a_kill_between_two_minors_is_gone_on_from_and_does_not_go_back(behind: World) -> None:
    def kill() -> None:
        if links(behind, "kube-apiserver") == {TO, LAST}:
            raise Killed

    with at_each_step(behind, kill), pytest.raises(Killed):
        behind.perform(Intent("upgrade"))
    with pytest.raises(RefusedForSafety) as refused:
        behind.perform(BACK)
    assert refused.value.code == "minor-downgraded"
    behind.forget()
    behind.perform(Intent("upgrade"))
    assert said(behind, "kube-apiserver") == {LAST} == said(behind, "kubelet")
    assert drained(behind) == [*PLANES, "w1", "w2"]


def test_a_digest_that_nobody_knows_is_refused_before_anything_is_done(
        behind: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply, "known", tuple)
    with pytest.raises(RefusedForSafety) as refused:
        behind.perform(Intent("upgrade"))
    assert refused.value.code == "digest-unknown" and behind.hosts.log == []


def killed_after(world: World, intent: Intent, phase: str, number: int) -> None:
    """Kill the run when it was about to hand the step `number` of a phase to a host."""
    steps = iter(range(10_000))

    def count() -> None:
        ran = [e for e in world.events if e.type == "phase-start"]
        if ran and ran[-1].phase == phase and next(steps) == number:
            raise Killed

    world.events.clear()
    with at_each_step(world, count), pytest.raises(Killed):
        world.perform(intent)


@pytest.mark.parametrize("seed", range(6))
def test_from_wherever_a_kill_leaves_it_the_next_run_ends_at_its_target(old: World, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 (no secret)
    for _ in range(3):
        verb = draw.choice([TRY, TRY, BACK, FINISH])
        left = draw.randrange(14)

        def one() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        try:
            with at_each_step(old, one):
                old.perform(verb)
        except Killed:
            pass
        except RefusedForSafety as refused:
            assert refused.code in (*skew.RULES, "nothing-to-go-back", "no-trial"), refused
        now = state(old)
        assert skew.faults(now) == [], "whatever a kill leaves is legal"
        assert legs.ahead(now, skew.pinned(old.hosts.lock), soak=True).refused == ()
    try:
        old.perform(BACK)
    except RefusedForSafety as refused:
        assert refused.code in (*skew.RULES, "nothing-to-go-back")
    else:
        assert said(old, "kube-apiserver") == {FROM} == said(old, "kubelet")
    old.perform(replace(TRY, soak=0.0))
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"):
        assert said(old, name) == {TO}
