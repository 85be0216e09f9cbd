"""The one loop: order, events, and what a failure leaves."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from provisioner.errors import GateFailed, Interrupted
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import engine
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session
from tests.fakes.session import World


def phases(done: list[str], *, broken: str = "", broken_gate: str = "",
           fault: BaseException | None = None) -> list[Phase]:
    """Return three phases that write down when they act and prove."""

    def make(name: str) -> Phase:
        def act(session: Session) -> str:
            done.append(f"{name} acts")
            if name == broken:
                raise fault or GateFailed(f"{name}: broke", hint="look")
            return "1 host" if name != "two" else ""

        def gate(session: Session) -> None:
            done.append(f"{name} proves")
            if name == broken_gate:
                raise fault or GateFailed(f"gate after {name}: not so")

        return Phase(name, f"does {name}", act, gate)  # type: ignore[arg-type]

    return [make(n) for n in ("one", "two", "three")]


def story(world: World) -> list[tuple[str, str, str]]:
    return [(e.type, e.phase, e.status) for e in world.events]


def test_each_phase_acts_and_proves_before_the_next_begins(world: World) -> None:
    done: list[str] = []
    engine.run(world.session(), phases(done))
    assert done == ["one acts", "one proves", "two acts", "two proves", "three acts", "three proves"]


def test_the_events_tell_every_phase_with_its_seconds_and_whether_there_was_work(world: World) -> None:
    engine.run(world.session(), phases([]))
    assert story(world) == [
        ("run-start", "", ""), ("phase-start", "one", ""), ("phase-done", "one", "ok"), ("phase-start", "two", ""),
        ("phase-done", "two", "nothing-to-do"), ("phase-start", "three", ""), ("phase-done", "three", "ok"),
        ("run-end", "", "ok")]
    assert world.events[0].data is not None and world.events[0].data["phases"] == ["one", "two", "three"]
    assert all(e.seconds is not None for e in world.events if e.type in ("phase-done", "run-end"))


@pytest.mark.parametrize("which", ["broken", "broken_gate"])
def test_a_failure_ends_the_run_unchanged_and_says_what_was_not_started(world: World, which: str) -> None:
    done: list[str] = []
    with pytest.raises(GateFailed) as fault:
        engine.run(world.session(), phases(done, **{which: "two"}))  # type: ignore[arg-type]
    assert "two" in fault.value.message
    assert not any(d.startswith("three") for d in done)
    assert ("two proves" in done) == (which == "broken_gate"), "what was not done is not proved"
    assert [s[:2] for s in story(world) if s[2] == "failed"] == [("phase-done", "two"), ("run-end", "two")]
    assert world.events[-1].data == {"not_started": ["three"], "error": {
        "code": "gate-failed", "details": [], "hint": fault.value.hint}}
    assert world.events[-1].message == fault.value.message


@pytest.mark.parametrize("which", ["broken", "broken_gate"])
def test_ctrl_c_names_the_phase_says_what_is_still_fine_and_how_to_go_on(world: World, which: str) -> None:
    done: list[str] = []
    with pytest.raises(Interrupted) as stopped:
        engine.run(world.session(), phases(done, **{which: "two"}, fault=KeyboardInterrupt()))
    assert (stopped.value.exit_code, stopped.value.hint) == (130, "kubewright resume run1")
    assert stopped.value.message == "Stopped at once in phase two."
    assert stopped.value.details == ("not started: three", "what was done stays done")
    assert not any(d.startswith("three") for d in done)
    assert [s[:2] for s in story(world) if s[2] == "interrupted"] == [("phase-done", "two"), ("run-end", "two")]
    assert (world.events[-1].data or {})["not_started"] == ["three"]


def test_a_bug_ends_the_story_too_without_the_words_that_it_may_carry(world: World) -> None:
    with pytest.raises(ValueError, match="hunter2"):
        engine.run(world.session(), phases([], broken="two", fault=ValueError("the password is hunter2")))
    assert (world.events[-1].type, world.events[-1].status) == ("run-end", "failed")
    assert world.events[-1].message == "this is a bug: ValueError"


def test_a_run_may_be_stopped_between_phases_when_nothing_is_half_done(world: World) -> None:
    done: list[str] = []
    session = world.session()

    def watch() -> None:
        done.append("safe")
        if len(done) > 5:
            raise GateFailed("the budget is spent")

    session.run.safe_points.append(watch)
    with pytest.raises(GateFailed, match="the budget is spent"):
        engine.run(session, phases(done))
    assert done == ["one acts", "one proves", "safe", "two acts", "two proves", "safe"]
    assert (world.events[-1].type, world.events[-1].status, world.events[-1].phase) == ("run-end", "failed", "three")


def ctrl_c(session: Session) -> None:
    signal.raise_signal(signal.SIGINT)


def with_act(name: str, act: Callable[[Session], None]) -> Phase:
    def acts(session: Session) -> str:
        act(session)
        return "1 host"

    return Phase(name, f"does {name}", acts)  # type: ignore[arg-type]


def test_the_first_ctrl_c_lets_the_phase_end_and_stops_before_the_next(world: World) -> None:
    done: list[str] = []
    with pytest.raises(Interrupted) as stopped:
        engine.run(world.session(), [with_act("zero", ctrl_c), *phases(done)])
    assert done == []
    assert (stopped.value.message, stopped.value.exit_code) == ("Stopped.", 130)
    assert stopped.value.details == ("not started: one, two, three", "what was done stays done")
    told = next(e for e in world.events if e.type == "stopping")
    assert told.message == "Stopping after phase zero (safe point). Press again to stop at once."
    ended = [s for s in story(world) if s[0] != "stopping"]        # which another thread tells, at its own time
    assert ended[-2:] == [("phase-done", "zero", "ok"), ("run-end", "one", "interrupted")]


def test_the_second_ctrl_c_stops_at_once_and_names_the_steps_that_go_on(world: World) -> None:
    def twice(session: Session) -> None:
        session.run.works_on("cp2", ["cp3"])
        session.run.in_flight.add(("cp2", "run1.control-plane.1"))
        ctrl_c(session)
        ctrl_c(session)
        raise AssertionError("goes on after the second")

    with pytest.raises(Interrupted) as stopped:
        engine.run(world.session(), [with_act("one", twice), *phases([])])
    assert stopped.value.message == "Stopped at once in cp2. cp3 not started."
    assert stopped.value.details[0] == ("cp2: step run1.control-plane.1 may still run there; "
                                        "the next run waits for it")


@pytest.mark.parametrize("before", [signal.SIGHUP, signal.SIGINT], ids=["both from the terminal", "after ctrl-c"])
def test_a_terminal_that_is_gone_asks_once_however_often_it_is_told(world: World, before: signal.Signals) -> None:
    done: list[str] = []

    def gone(session: Session) -> None:
        signal.raise_signal(before)
        signal.raise_signal(signal.SIGHUP)      # the shell passes it on, then the kernel ends the shell's session
        done.append("came to its end")

    kept = signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted, match=r"^Stopped\.$"):
            engine.run(world.session(), [with_act("zero", gone), *phases(done)])
    finally:
        signal.signal(signal.SIGHUP, kept)
    assert done == ["came to its end"]


def test_after_a_run_ctrl_c_is_what_it_was_before(world: World) -> None:
    before = signal.getsignal(signal.SIGINT)
    engine.run(world.session(), phases([]))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_was_ignored_stays_ignored(world: World) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        engine.run(world.session(), [with_act("one", ctrl_c), *phases([])])
    finally:
        signal.signal(signal.SIGINT, before)
    assert story(world)[-1] == ("run-end", "", "ok")


def test_the_beginning_tells_what_the_plan_holds(built: World) -> None:
    built.hosts.hosts["w1"].states["file", "/etc/haproxy/haproxy.cfg"] = "file sha256:by-hand 0644 root:root"
    with built.session() as session:
        survey(session)
        engine.run(session, phases([]))
    told = built.events[0].data or {}
    assert {k: told[k] for k in ("cluster", "kubernetes", "bootstrap", "hosts", "changes", "objects")} == {
        "cluster": "lab", "kubernetes": "1.36.3", "bootstrap": False, "hosts": ["cp1", "cp2", "cp3", "w1", "w2"],
        "changes": len(session.the_plan.changes), "objects": 0}


def test_a_phase_tells_how_many_hosts_have_work_in_it(built: World) -> None:
    built.hosts.hosts["w1"].states["file", "/etc/haproxy/haproxy.cfg"] = "file sha256:by-hand 0644 root:root"
    with built.session() as session:
        survey(session)
        engine.run(session, [Phase(name, "") for name in ("load-balancer", "node")])
    assert [e.data for e in built.events if e.type == "phase-start"] == [{"hosts": 1}, None]


def test_a_run_that_only_looks_stops_at_the_first_ctrl_c(built: World) -> None:
    session = built.session()
    survey(session)
    with pytest.raises(Interrupted, match="Stopped at once in phase one"):
        engine.run(session, [with_act("one", ctrl_c)])
