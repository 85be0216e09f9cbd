"""`stage` with hosts that give one another what they have, and with those that do not."""

from __future__ import annotations

from collections import Counter

import pytest

from provisioner.decide import spreading
from provisioner.errors import Interrupted, LockHeld, Unreachable
from provisioner.model.desired import Artifact
from provisioner.orchestrate.phases import stage
from provisioner.transport.hosts import OneHost
from provisioner.transport.sharing import Talk
from tests.fakes.session import World
from tests.fakes.session import surveyed_with_secrets as surveyed

SMALL = 900         # bytes: artifacts in memory have some 1,000 each
HOSTS = ["cp1", "cp2", "cp3", "w1", "w2"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "SMALL", SMALL)


def wanted(world: World) -> dict[str, list[Artifact]]:
    changes = surveyed(world).the_plan.changes
    return {h: [c.item for c in changes if c.host == h and isinstance(c.item, Artifact)] for h in HOSTS}


def odd(world: World) -> list[tuple[str, str]]:
    return [(e.host, e.message) for e in world.events if e.type == "diagnostic" and e.phase == "stage"]


def test_each_large_file_goes_out_once_and_the_run_says_how_much_went_between_hosts(world: World) -> None:
    lack = wanted(world)
    times = Counter(i.name for items in lack.values() for i in items if i.size >= SMALL)
    said = stage.stage(surveyed(world))
    fetched = Counter(name for _, _, name in world.hosts.peers.fetched)
    assert fetched == {name: count - 1 for name, count in times.items() if count > 1}
    total = sum(i.size for items in lack.values() for i in items)
    between = sum((times[i.name] - 1) * i.size for i in {i.name: i for items in lack.values() for i in items}.values()
                  if i.size >= SMALL)
    assert said == f"5 hosts, {total / 1e6:.0f} MB, {between / 1e6:.0f} MB of it from host to host"
    assert odd(world) == [] and surveyed(world).changes("stage") == {}


def test_who_cannot_reach_the_others_gets_all_from_here_and_the_run_says_so_once_for_each(world: World) -> None:
    world.hosts.peers.fails = {("w2", h): "no answer in time" for h in HOSTS}
    stage.stage(surveyed(world))
    assert surveyed(world).changes("stage") == {}
    told = odd(world)
    assert {host for host, _ in told} == {"w2"} and len(told) == 2
    assert all(": no answer in time; what a host does not get from others it gets from here" in text
               for _, text in told)


def test_a_host_that_cannot_serve_is_named_and_nothing_else_changes(world: World) -> None:
    world.hosts.peers.closed = {"cp1": "Cannot assign requested address"}
    stage.stage(surveyed(world))
    assert surveyed(world).changes("stage") == {}
    assert odd(world) == [("cp1", "cp1: giving other hosts what it has: Cannot assign requested address")]
    assert not [giver for _, giver, _ in world.hosts.peers.fetched if giver == "cp1"]


def test_a_host_whose_talk_is_lost_gets_the_rest_in_a_stream_of_its_own(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    share, on = world.hosts.share, world.hosts.on
    asked: list[tuple[str, bool]] = []      # since the loss

    def lost(one: OneHost, talk: Talk) -> None:
        if one.name == "w1":
            asked.clear()
            raise Unreachable("w1: running applier share: the connection was lost")
        share(one, talk)

    monkeypatch.setattr(world.hosts, "share", lost)
    monkeypatch.setattr(world.hosts, "on", lambda host, patient=True: (asked.append((host, patient)), on(host))[1])
    count = len(wanted(world)["w1"])
    session = surveyed(world)
    stage.stage(session)
    assert ("store", "w1", count) in world.hosts.log
    assert [one for one in asked if one[0] == "w1"] == [("w1", True)], "its connection is waited for"
    assert surveyed(world).changes("stage") == {}
    assert odd(world) == [
        ("w1", "w1: running applier share: the connection was lost; it gets the rest from here")]
    assert sorted(e.host for e in world.events if e.type == "host-done") == HOSTS


def ends_by_a_lost_lock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """See that a run whose hosts say that it is over ends, and that nothing is sent after that."""
    def fenced(one: OneHost, talk: Talk) -> None:
        raise LockHeld(f"{one.name}: applier share: epoch 4 is over", code="lock-lost")

    monkeypatch.setattr(world.hosts, "share", fenced)
    with pytest.raises(LockHeld):
        stage.stage(surveyed(world))
    assert world.hosts.log == []


def test_a_run_whose_lock_is_lost_sends_nothing_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ends_by_a_lost_lock(world, monkeypatch)


def test_a_run_that_is_to_end_ends_all_talks_and_no_host_is_told_to_have_failed(world: World) -> None:
    session = surveyed(world)
    session.run.works_on("phase stage")
    session.run.abandoned.set()
    with pytest.raises(Interrupted):
        stage.stage(session)
    assert session.run.failed == {} and surveyed(world).changes("stage") != {}
