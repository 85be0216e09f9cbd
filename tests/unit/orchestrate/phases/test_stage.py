"""What the phase `stage` streams, to whom, and when it stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from provisioner.errors import Interrupted, KubewrightError, Unreachable
from provisioner.model.artifact import ArtifactLock
from provisioner.model.desired import Artifact
from provisioner.model.events import Emit, Event
from provisioner.orchestrate.phases import stage
from provisioner.orchestrate.session.live_run import LiveRun
from provisioner.transport.hosts import OneHost
from provisioner.transport.sharing import Progress
from tests.fakes.session import World, instant
from tests.fakes.session import surveyed_with_secrets as surveyed


def test_only_missing_artifacts_are_streamed_and_only_to_the_hosts_that_lack_them(built: World) -> None:
    host = built.hosts.hosts["w2"]
    gone = sorted(k for k in host.states if k[0] == "artifact" and k[1].endswith(("/kubelet", "/kube-proxy")))
    for key in gone:
        del host.states[key]
    session = surveyed(built)
    assert stage.stage(session) == "1 host, 0 MB"
    assert built.hosts.log == [("store", "w2", 2)]
    assert len(gone) == 2


def test_a_kubelet_that_anybody_may_write_or_nobody_may_run_is_a_change_and_is_streamed_anew(built: World) -> None:
    states = built.hosts.hosts["w2"].states
    (key,) = [k for k in states if k[0] == "artifact" and k[1].endswith("/kubelet")]
    for mode in ("0777", "0644"):
        states[key] = states[key].replace(" 0755 ", f" {mode} ")
        session = surveyed(built)
        assert [(c.host, c.path, c.reason) for c in session.the_plan.changes] == [
            ("w2", key[1], f"mode {mode} → 0755")]
        stage.stage(session)
        assert surveyed(built).the_plan.is_empty


def test_sending_tells_how_far_it_is_and_which_host_has_all(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session, sleeps = surveyed(world), instant(monkeypatch)
    sent = stage._Sent(session, 200_000_000)
    for _ in range(4):
        sleeps.append(stage.TELL * 0.75)
        sent.sent(50_000_000)
    assert [(e.phase, e.message) for e in world.events if e.type == "waiting"] == [
        ("stage", "100 of 200 MB sent"), ("stage", "200 of 200 MB sent")]
    world.forget()
    stage.stage(session)
    hosts = ["cp1", "cp2", "cp3", "w1", "w2"]
    assert [e.host for e in world.events if e.type == "host-start"] == hosts
    assert [(e.phase, e.host, e.status) for e in world.events if e.type == "host-done"] == [
        ("stage", h, "ok") for h in hosts]


def test_with_nothing_missing_no_artifact_is_even_looked_up(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = surveyed(built)
    monkeypatch.setattr(stage, "fetch", lambda *_, **__: pytest.fail("fetched"))
    assert stage.stage(session) == ""


def test_an_artifact_that_a_fetch_did_not_bring_is_our_bug_and_not_a_missing_file(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = surveyed(world)
    monkeypatch.setattr(stage, "fetch", lambda lock, *, emit: {})
    with pytest.raises(KubewrightError, match="not in the cache after a fetch"):
        stage.stage(session)
    assert world.hosts.log == []


def another_phase_fails(run: LiveRun) -> None:
    run.abandoned.set()


def somebody_asks(run: LiveRun) -> None:
    def wish() -> None:
        raise Interrupted("Stopped.")

    run.safe_points.append(wish)


def test_streams_are_cut_once_the_run_is_to_end_and_no_host_is_told_to_have_failed(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def store(one: OneHost, artifacts: Sequence[tuple[Artifact, Path]], progress: Progress, **_: object) -> list[str]:
        sleeps.append(stage.TELL * 2)
        for _part in range(2):
            try:
                progress(1)
            except OSError as cut:
                raise Unreachable(f"{one.name}: running applier store: {cut}") from None
        pytest.fail("it was sent to its end")

    session, sleeps = surveyed(world), instant(monkeypatch)
    session.run.works_on("phase stage")
    somebody_asks(session.run)
    monkeypatch.setattr(stage, "fetch", lambda lock, *, emit: {a.sha256: Path("x") for a in lock.artifacts})
    monkeypatch.setattr(world.hosts, "store", store)
    with pytest.raises(Interrupted):
        stage.stage(session)
    assert session.run.failed == {}
    assert [e for e in world.events if e.type in ("set-aside", "host-done")] == []


@pytest.mark.parametrize("end", [another_phase_fails, somebody_asks])
def test_missing_artifacts_are_built_no_further_once_the_run_is_to_end(
        end: Callable[[LiveRun], None], world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(lock: ArtifactLock, *, emit: Emit) -> dict[str, Path]:
        emit(Event("waiting", time.time(), message="etcd 3.6.5: building etcd, 5 s"))
        pytest.fail("the build went on")

    session = surveyed(world)
    monkeypatch.setattr(stage, "fetch", fetch)
    end(session.run)
    with pytest.raises(Interrupted):
        stage.stage(session)
    assert world.events[-1].message == "etcd 3.6.5: building etcd, 5 s"
