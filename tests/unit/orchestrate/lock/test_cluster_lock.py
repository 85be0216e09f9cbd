"""One run at a time, on hosts in memory whose records change as the applier changes them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from provisioner.decide.lock import TTL
from provisioner.errors import KubewrightError, LockHeld, PlanStale, Unreachable
from provisioner.orchestrate.lock import cluster_lock, process
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import engine
from provisioner.orchestrate.run.verbs import UP
from provisioner.orchestrate.session.session import Session
from provisioner.transport.hosts import OneHost
from tests.fakes.session import World, instant

KUBELET_CONFIG = ("file", "/var/lib/kubelet/config.yaml")
CPS = ("cp1", "cp2", "cp3")


def records(world: World) -> list[dict[str, Any]]:
    return [world.hosts.hosts[name].record for name in CPS]


def elsewhere(patch: pytest.MonkeyPatch) -> None:
    """Let no process be known to be dead, as if it ran on another machine."""
    patch.setattr(process, "is_dead", lambda _: False)


def test_a_run_holds_every_record_while_it_works_and_gives_them_back(world: World) -> None:
    session = world.session()
    with cluster_lock.look(session).held():
        assert [(r["held"], r["run"], r["epoch"]) for r in records(world)] == [(True, "run1", 1)] * 3
        assert session.run.epoch == 1
        assert {h.epoch for h in world.hosts.hosts.values()} == {1}, "installed on every host"
        session.run.safe_point()
        session.run.still_ours()
    assert [(r["held"], r["epoch"]) for r in records(world)] == [(False, 1)] * 3
    assert (session.run.epoch, session.run.safe_points) == (None, [])  # type: ignore[comparison-overlap]
    session.run.still_ours()


@pytest.mark.parametrize("end", [KubewrightError("x"), KeyboardInterrupt(), RuntimeError("a bug"), SystemExit(1)])
def test_it_is_given_back_however_the_run_ends(world: World, end: BaseException) -> None:
    with pytest.raises(type(end)), cluster_lock.look(world.session()).held():
        raise end
    assert not any(r["held"] for r in records(world))


def test_each_run_has_a_higher_epoch(world: World) -> None:
    for epoch in (1, 2, 3):
        session = world.session()
        with cluster_lock.look(session).held():
            assert session.run.epoch == epoch


def test_an_epoch_that_any_host_knows_is_not_used_again(world: World) -> None:
    world.hosts.hosts["w1"].epoch = 8       # a worker of a cluster whose control planes are new
    session = world.session()
    session.target.observed = world.hosts.observe({h: () for h in world.hosts.hosts})
    with cluster_lock.look(session).held():
        assert session.run.epoch == 9


def test_a_host_that_knows_a_newer_epoch_belongs_to_a_newer_run(world: World) -> None:
    session = world.session()
    locked = cluster_lock.look(session)
    session.target.observed = world.hosts.observe({h: () for h in world.hosts.hosts})
    world.hosts.hosts["w1"].epoch = 8       # installed since we looked
    with pytest.raises(LockHeld, match=r"w1: installing epoch 1: a newer run \(epoch 8\) owns this host") as lost, \
            locked.held():
        pytest.fail("nothing may be done")
    assert lost.value.code == "lock-lost"
    assert not any(r["held"] for r in records(world))


def test_the_second_is_refused_with_owner_machine_and_since(world: World) -> None:
    first, second = cluster_lock.look(world.session()), cluster_lock.look(world.session())
    with first.held():
        for where, act in (("cp1, cp2, cp3", lambda: cluster_lock.look(world.session())),
                           ("cp1", second.held().__enter__)):
            with pytest.raises(LockHeld, match=where + r": taking the lock: held by \S+ on \S+ since "
                               r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(run run1\)") as refused:
                act()
            assert refused.value.exit_code == 14
            assert "kubewright unlock" in refused.value.hint
    assert all(r["run"] == "run1" for r in records(world))


def test_who_comes_too_late_asks_one_host_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = cluster_lock.look(world.session()), cluster_lock.look(world.session())
    asked: list[tuple[str, str]] = []
    real = world.hosts.lock_record

    def counted(one: OneHost, request: Any) -> dict[str, Any]:
        asked.append((one.name, request["do"]))
        return real(one, request)

    with first.held():
        monkeypatch.setattr(world.hosts, "lock_record", counted)
        with pytest.raises(LockHeld), second.held():
            pass
        monkeypatch.setattr(world.hosts, "lock_record", real)
    assert asked == [("cp1", "take")]


def test_a_control_plane_that_was_away_at_the_look_is_asked_before_it_is_taken(world: World) -> None:
    with cluster_lock.look(world.session()).held():
        pass
    world.hosts.hosts["cp1"].down = True
    mine = cluster_lock.look(world.session())
    world.hosts.hosts["cp1"].down = False
    with mine.held():
        assert [r["run"] for r in records(world)] == ["run2"] * 3


def test_where_a_majority_was_away_at_the_look_anybody_may_have_had_it_since(world: World) -> None:
    with cluster_lock.look(world.session()).held():
        pass
    world.hosts.hosts["cp1"].down = world.hosts.hosts["cp2"].down = True
    mine = cluster_lock.look(world.session())
    world.hosts.hosts["cp1"].down = world.hosts.hosts["cp2"].down = False
    with pytest.raises(PlanStale, match="the plan was made before another run"), mine.held():
        pass
    assert not any(r["held"] for r in records(world))


def test_a_plan_made_before_a_run_that_took_the_lock_and_died_is_refused_too(world: World) -> None:
    mine = cluster_lock.look(world.session())
    gone = {**process.me(), "start": "1"}       # the number is another's now
    for host in CPS:
        world.hosts.on(host).lock({"do": "take", "seen": 0, "epoch": 4, "run": "old", "owner": "ann",
                                   "machine": "here", "process": gone, "since": 5.0})
    with pytest.raises(PlanStale, match="the plan was made before another run: ann on here"), mine.held():
        pass


def test_a_plan_made_before_another_s_run_is_refused(world: World) -> None:
    mine = cluster_lock.look(world.session())
    with cluster_lock.look(world.session()).held():
        pass
    with pytest.raises(PlanStale, match="the plan was made before another run") as refused, mine.held():
        pass
    assert refused.value.exit_code == 16
    assert not any(r["held"] for r in records(world))
    with cluster_lock.look(world.session()).held():
        pass


def test_a_dead_process_of_this_machine_loses_it_at_once(world: World) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = {**process.me(), "pid": child.pid, "start": process._stat(child.pid)[19]}  # type: ignore[index]
    for host in CPS:
        world.hosts.on(host).lock({"do": "take", "seen": 0, "epoch": 4, "run": "old", "owner": "ann",
                                   "machine": "here", "process": owner, "since": 5.0})
    with pytest.raises(LockHeld):
        cluster_lock.look(world.session())
    child.kill()
    child.wait()
    session = world.session()
    with cluster_lock.look(session).held():
        assert session.run.epoch == 5
    assert any("left by ann on here" in e.message for e in world.events)


def test_a_run_elsewhere_loses_it_after_the_ttl_and_not_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch)
    lost = cluster_lock.look(world.session()).held()
    lost.__enter__()                                        # its machine is gone: nobody renews
    world.hosts.now += TTL - 1
    with pytest.raises(LockHeld, match="held by") as refused:
        cluster_lock.look(world.session())
    assert "free by itself 1 s from now" in refused.value.details[1]
    world.hosts.now += 1
    with cluster_lock.look(world.session()).held():
        assert {r["run"] for r in records(world)} == {"run3"}
    lost.__exit__(None, None, None)


def test_who_lost_it_stops_at_the_next_safe_point_and_takes_nothing_from_the_next(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch)
    mine = world.session()
    held = cluster_lock.look(mine).held()
    held.__enter__()
    world.hosts.now += TTL
    with cluster_lock.look(world.session()).held():
        with pytest.raises(LockHeld, match=r"the lock was lost: taken by .*run2") as refused:
            mine.run.still_ours()
        assert (refused.value.exit_code, refused.value.code) == (14, "lock-lost")
        with pytest.raises(LockHeld):
            mine.run.safe_point()
        held.__exit__(None, None, None)
        assert all(r["held"] and r["run"] == "run2" for r in records(world))


@pytest.mark.parametrize("taken", [False, True])
def test_a_machine_that_slept_for_longer_than_the_ttl_goes_on_if_nobody_took_the_lock(
        world: World, monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    elsewhere(monkeypatch)
    mine, slept, real = world.session(), 10 * TTL, cluster_lock._clock
    with cluster_lock.look(mine).held():
        world.hosts.now += slept
        if taken:
            with cluster_lock.look(world.session()).held():
                pass
        monkeypatch.setattr(cluster_lock, "_clock", lambda: real() + slept)
        if not taken:
            mine.run.safe_point()
            assert not any(record.age >= TTL for record in cluster_lock.holders(world.session()))
        else:
            with pytest.raises(LockHeld, match=r"taken by .*run2"):
                mine.run.safe_point()


def test_who_lost_it_writes_on_no_host(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch)
    built.hosts.hosts["w1"].edit(KUBELET_CONFIG[1], "file sha256:by-hand 0600 root:root", unit="kubelet.service")
    with built.session() as old:
        survey(old)
        with cluster_lock.look(old).held():
            monkeypatch.setattr(old.run, "safe_points", [])     # it does not know yet
            for host in built.hosts.hosts.values():
                host.epoch = 9
            with pytest.raises(LockHeld, match="w1: applying: epoch 2 is over") as refused:
                engine.run(old, UP)
    assert refused.value.exit_code == 14
    assert not any(e.type == "set-aside" for e in built.events), "it goes on with no other host either"
    assert built.hosts.hosts["w1"].states[KUBELET_CONFIG] == "file sha256:by-hand 0600 root:root"


def test_a_run_that_a_person_unlocked_is_told_so(world: World) -> None:
    mine = world.session()
    with cluster_lock.look(mine).held():
        cluster_lock.unlock(world.session(), cluster_lock.holders(world.session()))
        with pytest.raises(LockHeld, match="released by hand"):
            mine.run.still_ours()
    assert cluster_lock.holders(world.session()) == []


def test_a_minority_that_is_away_changes_nothing_and_what_is_left_there_binds_nobody(world: World) -> None:
    with cluster_lock.look(world.session()).held():
        world.hosts.hosts["cp1"].down = True
    world.hosts.hosts["cp1"].down = False
    assert records(world)[0]["held"]
    with cluster_lock.look(world.session()).held():
        assert [r["run"] for r in records(world)] == ["run2"] * 3


def test_without_a_majority_nothing_is_taken(world: World) -> None:
    world.hosts.hosts["cp1"].down = world.hosts.hosts["cp2"].down = True
    with pytest.raises(Unreachable, match="cp1, cp2: taking the lock: no majority") as refused, \
            cluster_lock.look(world.session()).held():
        pass
    assert refused.value.details == ("cp1: connecting: no route", "cp2: connecting: no route", "nothing was changed")
    assert records(world) == [{}, {}, {}]


def test_a_control_plane_whose_record_is_torn_is_named_and_the_others_are_enough(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = world.hosts.lock_record

    def torn(one: OneHost, request: Any) -> dict[str, Any]:
        if one.name == "cp2":
            raise KubewrightError("cp2: applier lock: exit 1: applier: record.json: torn", code="applier-failed")
        return real(one, request)

    monkeypatch.setattr(world.hosts, "lock_record", torn)
    with cluster_lock.look(world.session()).held():
        pass
    assert any(e.message == "cp2: applier lock: exit 1: applier: record.json: torn; the others' word on the lock is "
               "enough" for e in world.events)


def test_a_cluster_that_is_out_of_reach_for_a_ttl_may_be_somebody_else_s(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = world.session()
    with cluster_lock.look(session).held():
        for name in CPS:
            world.hosts.hosts[name].down = True
        instant(monkeypatch)
        began = cluster_lock._clock()
        ticks: Iterator[float] = iter(range(1, 10_000))
        monkeypatch.setattr(cluster_lock, "_clock", lambda: began + next(ticks))
        with pytest.raises(LockHeld, match="no majority of the control planes answered for 6"):
            session.run.still_ours()


def test_a_control_plane_that_hangs_does_not_keep_the_run_from_renewing_on_the_others(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_lock, "RENEW", 0.01)
    renewed: Counter[str] = Counter()
    enough = threading.Event()
    real = world.hosts.lock_record

    def asked(one: OneHost, request: Any) -> dict[str, Any]:
        if request["do"] == "renew":
            renewed[one.name] += 1
            if one.name == "cp1":
                enough.wait(10)         # hangs
            elif renewed["cp1"] and min(renewed["cp2"], renewed["cp3"]) > 2:
                enough.set()
        return real(one, request)

    monkeypatch.setattr(world.hosts, "lock_record", asked)
    session = world.session()
    with cluster_lock.look(session).held():
        assert enough.wait(5), renewed
        session.run.safe_point()
    assert not any(r["held"] for r in records(world))


def test_a_process_is_dead_only_when_that_is_certain() -> None:
    me = process.me()
    assert not process.is_dead(me)
    assert not process.is_dead({})
    assert process.is_dead({**me, "start": "1"}), "the number is another's now"
    assert not process.is_dead({**me, "start": "1", "boot": "elsewhere"})
    assert not process.is_dead({**me, "start": "1", "namespace": "pid:[1]"}), "a container counts by itself"
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.is_dead({**me, "pid": child.pid, "start": process._stat(child.pid)[19]}), "dead, not yet reaped"  # type: ignore[index]
    child.wait()
    assert process.is_dead({**me, "pid": child.pid})


class Turns:
    """Lets threads ask hosts one at a time, in an order that dice choose; often side by side, where they collide."""

    def __init__(self, dice: random.Random) -> None:
        self.dice, self.changed = dice, threading.Condition()
        self.asked: Counter[str] = Counter()
        self.running: set[str] = set()
        self.waiting: set[str] = set()
        self.next = ""

    def wait(self, name: str) -> None:
        with self.changed:
            self.waiting.add(name)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.next == name)
            self.waiting.remove(name)
            self.next = ""

    def run(self, racers: dict[str, Callable[[], None]]) -> None:
        def race(name: str) -> None:
            racers[name]()
            with self.changed:
                self.running.remove(name)
                self.changed.notify_all()

        self.running = set(racers)
        threads = [threading.Thread(target=race, args=(name,), name=name) for name in racers]
        for thread in threads:
            thread.start()
        with self.changed:
            while True:
                self.changed.wait_for(lambda: not self.next and self.waiting == self.running)
                if not self.running:
                    break
                among = sorted(self.waiting, key=lambda name: (self.asked[name], self.dice.random()))
                self.next = among[0] if self.dice.random() < 0.8 else self.dice.choice(among)
                self.asked[self.next] += 1
                self.changed.notify_all()
        for thread in threads:
            thread.join()


def raced(world: World, patch: pytest.MonkeyPatch, seed: int, number: int, cut: set[tuple[str, str]]) -> list[str]:
    """Let runs race in one order of their requests; return who got the lock. `cut`: who does not reach which host."""
    turns, won, stack = Turns(random.Random(seed)), [], ExitStack()     # noqa: S311  # cases, not secrets
    real = world.hosts.lock_record

    def asked(one: OneHost, request: Any) -> dict[str, Any]:
        name = threading.current_thread().name
        if name in turns.running:
            turns.wait(name)
            if (name, one.name) in cut:
                raise Unreachable(f"{one.name}: connecting: no route")
        return real(one, request)

    def racer(session: Session) -> None:
        try:
            stack.enter_context(cluster_lock.look(session).held())      # it holds it until all others have tried
            won.append(session.run.id)
        except (LockHeld, Unreachable):
            pass

    with patch.context() as inner, stack:
        elsewhere(inner)
        inner.setattr(world.hosts, "lock_record", asked)
        sessions = [world.session() for _ in range(number)]
        turns.run({s.run.id: lambda s=s: racer(s) for s in sessions})  # type: ignore[misc]
    return won


@pytest.mark.parametrize("number", [2, 3])
def test_in_any_order_of_their_requests_exactly_one_of_them_gets_it(
        world: World, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    for seed in range(60):
        assert len(raced(world, monkeypatch, seed, number, set())) == 1, seed
        assert not any(r["held"] for r in records(world))


def test_with_hosts_that_some_do_not_reach_never_two_get_it_and_none_for_good(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(80):
        dice = random.Random(seed)      # noqa: S311  # cases, not secrets
        names = [f"run{world.sessions + n}" for n in (1, 2)]
        cut = {(name, dice.choice(CPS)) for name in names}
        assert len(raced(world, monkeypatch, seed, 2, cut)) <= 1, seed
        assert len(raced(world, monkeypatch, seed, 1, set())) == 1, "what the losers left holds nobody up"


def test_control_planes_that_have_left_the_inventory_still_vote_until_it_is_applied(built: World) -> None:
    left = {name: spec for name, spec in built.inventory.cluster.hosts.items() if name not in ("cp2", "cp3")}
    cluster = built.inventory.cluster.model_copy(update={"hosts": left})

    def session() -> Session:
        found = built.session()
        found.target.inventory = replace(built.inventory, cluster=cluster)
        return found

    with cluster_lock.look(session()).held():
        assert [r["held"] for r in records(built)] == [True] * 3
        with pytest.raises(LockHeld):       # who still has the inventory of before meets it as well
            cluster_lock.look(built.session())
    for name in ("cp2", "cp3"):
        built.hosts.hosts[name].down = True
    alone = cluster_lock.look(session())
    with pytest.raises(Unreachable, match="cp2, cp3: taking the lock: no majority"), alone.held():
        pytest.fail("the old members may have let another run begin")
