"""Phases beside one another: what begins when, and what a failure or a wish to stop in one does to the others."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from provisioner.errors import GateFailed, Interrupted
from provisioner.model.phases import JOIN
from provisioner.orchestrate.gates import proofs
from provisioner.orchestrate.phases import together
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import engine, walk
from provisioner.orchestrate.run.verbs import UP
from provisioner.orchestrate.session.live_run import Abandoned
from provisioner.orchestrate.session.phase import Phase, nothing
from provisioner.orchestrate.session.session import Session
from tests.fakes.session import World

PATIENCE = 20.0     # seconds for another thread; no test waits that long unless it fails


@pytest.fixture
def first(world: World) -> Session:
    """Return a session that is about to start a cluster for the first time."""
    session = world.session()
    assert survey(session).bootstrap
    return session


def phase(name: str, *after: str, act: Callable[[Session], object] = nothing,
          gate: Callable[[Session], None] = lambda session: None, gate_after: tuple[str, ...] = ()) -> Phase:
    def acts(session: Session) -> str:
        act(session)
        return "1 host"

    return Phase(name, f"does {name}", acts, gate, after=after, gate_after=gate_after)  # type: ignore[arg-type]


def ctrl_c() -> None:
    """Ask as a terminal does: the main thread hears it, which waits for the phases."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def asked(world: World) -> bool:
    """Wait until it is told that somebody asked to stop."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not any(e.type == "stopping" for e in world.events):
        time.sleep(0.01)
    return any(e.type == "stopping" for e in world.events)


def told(world: World, kind: str) -> list[tuple[str, str]]:
    return [(e.phase, e.status) for e in world.events if e.type == kind]


def test_phases_that_do_not_need_one_another_run_at_the_same_time(world: World, first: Session) -> None:
    both = threading.Barrier(2)
    engine.run(first, [phase(name, act=lambda s: both.wait(PATIENCE)) for name in ("one", "two")])
    assert sorted(told(world, "phase-done")) == [("one", "ok"), ("two", "ok")]


def test_a_phase_begins_once_those_that_it_needs_are_proved_and_waits_for_no_others(
        world: World, first: Session) -> None:
    begun = threading.Event()
    engine.run(first, [
        phase("slow", act=lambda s: begun.wait(PATIENCE) or pytest.fail("waited for what it does not need")),
        phase("quick"), phase("next", "quick", act=lambda s: begun.set()), phase("last", "slow", "next")])
    order = [(e.type, e.phase) for e in world.events]
    assert order.index(("phase-done", "quick")) < order.index(("phase-start", "next"))
    assert order.index(("phase-done", "next")) < order.index(("phase-done", "slow"))
    assert order[-3:] == [("phase-start", "last"), ("phase-done", "last"), ("run-end", "")]


def test_a_phase_that_says_nothing_of_what_it_needs_waits_for_all_before_it(world: World, first: Session) -> None:
    engine.run(first, [phase("one"), phase("two"), Phase("three", "does three")])  # type: ignore[arg-type]
    assert [e.phase for e in world.events if e.type in ("phase-start", "phase-done")][-2:] == ["three", "three"]


def test_a_gate_is_asked_once_the_phases_are_proved_without_which_it_cannot_hold(first: Session) -> None:
    acted, done = threading.Event(), []
    engine.run(first, [
        phase("early", act=lambda s: acted.set(), gate=lambda s: done.append("early"), gate_after=("late", "absent")),
        phase("late", act=lambda s: acted.wait(PATIENCE), gate=lambda s: done.append("late"))])
    assert done == ["late", "early"]


def test_a_gate_that_waits_for_a_phase_which_fails_is_never_asked(world: World, first: Session) -> None:
    def fails(session: Session) -> None:
        raise GateFailed("late: broke")

    with pytest.raises(GateFailed, match="late: broke"):
        engine.run(first, [phase("early", gate=lambda s: pytest.fail("asked"), gate_after=("late",)),
                           phase("late", "before", act=fails), phase("before")])
    assert dict(told(world, "phase-done"))["early"] == "interrupted"


def test_what_is_needed_and_not_asked_for_is_not_waited_for(world: World, first: Session) -> None:
    engine.run(first, [phase("two", "one")])
    assert told(world, "phase-done") == [("two", "ok")]


def test_on_a_live_cluster_the_order_of_the_list_holds(built: World) -> None:
    session = built.session()
    survey(session)
    engine.run(session, [phase("one"), phase("two"), phase("three")])
    assert [(e.type, e.phase) for e in built.events if e.type.startswith("phase")] == [
        (what, name) for name in ("one", "two", "three") for what in ("phase-start", "phase-done")]


def test_the_first_failure_ends_the_run_once_the_others_have_come_to_a_safe_point(
        world: World, first: Session) -> None:
    begun = threading.Event()

    def fails(session: Session) -> None:
        begun.wait(PATIENCE)
        raise GateFailed("one: broke")

    def goes_on(session: Session) -> None:
        begun.set()
        session.run.abandoned.wait(PATIENCE)
        done.append("a batch was ended")
        session.run.safe_point()
        done.append("another was begun")

    done: list[str] = []
    with pytest.raises(GateFailed, match="one: broke"):
        engine.run(first, [phase("one", act=fails), phase("two", act=goes_on), phase("three", "two")])
    assert done == ["a batch was ended"]
    assert told(world, "phase-done") == [("one", "failed"), ("two", "interrupted")]
    assert (world.events[-1].phase, world.events[-1].status) == ("one", "failed")
    assert (world.events[-1].data or {})["not_started"] == ["three"]


def test_a_gate_that_only_waits_does_not_hold_up_a_failure(world: World, first: Session) -> None:
    def fails(session: Session) -> None:
        waiting.wait(PATIENCE)
        raise GateFailed("two: broke")

    def not_so() -> str:
        waiting.set()
        return "not yet"

    waiting = threading.Event()
    with pytest.raises(GateFailed, match="two: broke"):
        engine.run(first, [phase("one", gate=lambda s: proofs.wait_until(s, "one", not_so)), phase("two", act=fails)])
    assert told(world, "phase-done") == [("two", "failed"), ("one", "interrupted")]


@pytest.mark.parametrize("hosts", [("w1", "w2"), ("cp1", "cp2")])
def test_what_a_failure_elsewhere_leaves_unproved_is_no_fault_of_a_host(
        hosts: tuple[str, ...], world: World, first: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_yet(*_: object) -> dict[str, object]:
        first.run.abandoned.set()
        return {"ok": False, "hopeless": False, "seconds": 0.1,
                "results": [{"name": "kubelet", "ok": False, "reason": "connection refused"}]}

    monkeypatch.setattr(world.hosts, "probe", not_yet)
    first.run.works_on("phase node")
    with pytest.raises(Abandoned):
        proofs.hosts_hold(first, {host: [{"name": "kubelet", "kind": "tcp"}] for host in hosts}, "node")
    assert first.run.failed == {}
    assert [e.type for e in world.events] == []


def test_the_first_ctrl_c_lets_every_phase_end_that_has_begun(world: World, first: Session) -> None:
    def asks(session: Session) -> None:
        ctrl_c()
        assert asked(world), "nobody heard it"
        done.append("came to its end")

    done: list[str] = []
    with pytest.raises(Interrupted, match=r"^Stopped\.$") as stopped:
        engine.run(first, [phase("one", act=asks), phase("two", "one")])
    assert done == ["came to its end"]
    assert stopped.value.details[0] == "not started: two"
    assert told(world, "phase-done") == [("one", "ok")]


def test_the_second_ctrl_c_waits_for_no_phase_and_nothing_is_heard_of_them_any_more(
        world: World, first: Session) -> None:
    def asks(session: Session) -> None:
        session.run.works_on("cp2", ["cp3"])
        ctrl_c()
        asked(world)
        ctrl_c()
        over.wait(PATIENCE)

    over = threading.Event()
    with pytest.raises(Interrupted) as stopped:
        engine.run(first, [phase("one", act=asks), phase("two", act=lambda s: over.wait(PATIENCE))])
    heard = len(world.events)
    threads = [t for t in threading.enumerate() if t.name.startswith("phase")]
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert stopped.value.message in ("Stopped at once in cp2, phase two. cp3 not started.",
                                     "Stopped at once in phase two, cp2. cp3 not started.",
                                     "Stopped at once in cp2. cp3 not started.")
    assert dict(told(world, "phase-done")).get("one") == "interrupted"
    assert world.events[-1].type == "run-end"
    assert len(world.events) == heard


def test_a_phase_that_has_ended_is_named_no_more_however_soon_it_ended(
        first: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    class Prompt(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(fn, *args, **kwargs)
            assert wait([future], PATIENCE).done
            return future

    monkeypatch.setattr(walk, "ThreadPoolExecutor", Prompt)
    engine.run(first, [phase("one")])
    assert first.run.doing == ""


def test_every_phase_of_up_comes_to_its_turn_and_the_last_proves_the_cluster_as_a_whole() -> None:
    names = [p.name for p in UP]
    needs = {p.name: {*(names[:names.index(p.name)] if p.after is None else p.after), *p.gate_after} for p in UP}
    proved: set[str] = set()
    waiting = list(UP)
    while ready := [p for p in waiting if needs[p.name] <= proved]:
        proved |= {p.name for p in ready}
        waiting = [p for p in waiting if p not in ready]
    assert not waiting, "they wait for one another, or for what there is not"
    before_last: set[str] = set()
    more: set[str] = {UP[-1].name}
    while more - before_last:
        before_last |= more
        more = {need for phase in UP if phase.name in before_last for need in needs[phase.name]}
    assert before_last == {*names}, "the last proof is of all that is there"


def test_what_a_step_makes_of_a_later_phase_needs_nothing_that_is_not_proved_before_the_step() -> None:
    needs = {p.name: set(p.after or ()) for p in UP}
    after = {name: needs[name].union(*(needs[one] for one in needs[name])) for name in needs}   # and what those need
    for leader, others in together.WITH.items():
        for name in others if leader != JOIN else ():      # what it starts is no part of their proof
            assert leader in after[name], f"{name} would begin before its changes are made"
            assert needs[name] - {leader, *others} <= needs[leader], name


def test_a_step_writes_files_only_for_phases_that_begin_after_it_and_start_their_own_units() -> None:
    needs: dict[str, set[str]] = {p.name: set(p.after or ()) for p in UP}
    for leader, others in together.FILES.items():
        for name in others:
            before: set[str] = set()
            more = needs[name]
            while more - before:
                before |= more
                more = {need for one in before for need in needs[one]}
            assert leader in before, f"{name} would begin before its files are there"
            assert not set(together.WITH[leader]) & set(others), "whose units start with it, has its files already"
