"""`stage` where the inventory names a mirror: hosts fetch for themselves, and what they do not get comes from here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.errors import Interrupted, Unreachable
from provisioner.model.desired import Artifact
from provisioner.orchestrate.phases import mirrored, stage
from provisioner.orchestrate.plan import preflight
from provisioner.transport.hosts import OneHost
from provisioner.transport.sharing import Talk
from tests.fakes.session import World
from tests.fakes.session import surveyed_with_secrets as surveyed
from tests.unit.orchestrate.phases.test_spreading_phase import ends_by_a_lost_lock

HOSTS = ["cp1", "cp2", "cp3", "w1", "w2"]
URL = "https://mirror.example.org/kw"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World.make(tmp_path, monkeypatch, artifacts={"from": URL})


def wanted(world: World) -> dict[str, list[Artifact]]:
    changes = surveyed(world).the_plan.changes
    return {h: [c.item for c in changes if c.host == h and isinstance(c.item, Artifact)] for h in HOSTS}


def odd(world: World) -> list[tuple[str, str]]:
    return [(e.host, e.message) for e in world.events if e.type == "diagnostic" and e.phase == "stage"]


def test_what_the_mirror_gives_needs_no_file_here(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []
    monkeypatch.setattr(stage, "_local_files", lambda session, digests: asked.append(digests) or {})
    total = sum(i.size for items in wanted(world).values() for i in items) / 1e6
    assert stage.stage(surveyed(world)) == f"5 hosts, {total:.0f} MB, {total:.0f} MB of it from the mirror"
    assert asked in ([], [set()])
    assert odd(world) == [] and surveyed(world).changes("stage") == {}
    assert sorted(e.host for e in world.events if e.type == "host-done") == HOSTS
    assert world.hosts.peers.fetched == []


def test_who_gets_nothing_from_the_mirror_gets_it_from_here_and_the_run_says_why(world: World) -> None:
    world.hosts.peers.mirrors = {"w2": "it answered 404"}
    stage.stage(surveyed(world))
    assert surveyed(world).changes("stage") == {}
    told = odd(world)
    assert {host for host, _ in told} == {"w2"}
    assert mirrored.FAULTS <= len(told) < mirrored.FAULTS + mirrored.GETS
    assert all(f" from {URL}: it answered 404; what the mirror does not give it comes from here" in text
               for _, text in told)
    assert sorted(e.host for e in world.events if e.type == "host-done") == HOSTS


def test_a_host_whose_talk_is_lost_gets_the_rest_from_here(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    share, lost = world.hosts.share, []

    def cut(one: OneHost, talk: Talk) -> None:
        if one.name == "w1" and talk.mirror is not None:
            lost.append(one.name)
            raise Unreachable("w1: running applier share: the connection was lost")
        share(one, talk)

    monkeypatch.setattr(world.hosts, "share", cut)
    stage.stage(surveyed(world))
    assert lost == ["w1"] and surveyed(world).changes("stage") == {}
    assert odd(world) == [
        ("w1", "w1: running applier share: the connection was lost; it gets the rest from here")]


def test_a_run_whose_lock_is_lost_brings_nothing_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ends_by_a_lost_lock(world, monkeypatch)


def test_a_run_that_is_to_end_ends_all_talks_and_says_nothing_of_hosts(world: World) -> None:
    session = surveyed(world)
    session.run.works_on("phase stage")
    session.run.abandoned.set()
    with pytest.raises(Interrupted):
        stage.stage(session)
    assert session.run.failed == {} and odd(world) == []


def test_a_host_is_asked_before_whether_the_mirror_has_what_it_lacks(world: World) -> None:
    session = surveyed(world)
    sums = {c.item.sha256 for c in session.changes("stage")["w2"] if isinstance(c.item, Artifact)}
    asked = preflight._question(session, "w2", ())
    assert asked["mirror"] == {"url": URL, "proxy": "", "trust": ""} and asked["mirrored"] in sums
    session.go_by(replace(session.the_plan, changes=()))
    assert "mirror" not in preflight._question(session, "w2", ()), "it has all"
