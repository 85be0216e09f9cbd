"""Probing between hosts as a run does it: who is asked what, when, and what is made of answers and of silence."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import Interrupted, Unreachable
from provisioner.model.facts import Interface
from provisioner.model.reach import Probed, Tried
from provisioner.orchestrate.plan import pairs
from provisioner.orchestrate.plan.survey import survey
from provisioner.transport.answers import told_of
from provisioner.transport.hosts import Take
from tests.fakes.one_host import FakeOne
from tests.fakes.session import World

CP1, CP2, W1 = "10.77.0.11", "10.77.0.12", "10.77.0.21"
ALL = {"cp1", "cp2", "cp3", "w1", "w2"}


def probed(world: World, about: set[str] | None = None, **choice: Any) -> Probed:
    with world.session() as session:
        survey(session)
        return pairs.probe(session, about, **choice)


def of(done: Probed, source: str, target: str, at: str) -> Tried:
    return next(t for t in done.tried if (t.need.source, t.need.target, t.need.at) == (source, target, at))


def test_five_new_hosts_try_every_talk_and_all_goes_well(world: World) -> None:
    done = probed(world)
    assert (len(done.tried), done.pairs) == (74, 20)
    assert [t for t in done.tried if t.ok is not True] == []
    assert {t.passes for t in done.tried if t.need.protocol == "udp"} == {1500}
    assert {name: alone.unseen for name, alone in done.alone.items()} == {name: {} for name in ALL}
    assert {name for name, alone in done.alone.items() if alone.disk} == {"cp1", "cp2", "cp3"}
    assert {alone.also for alone in done.alone.values()} == {()}
    assert {name for name, alone in done.alone.items() if alone.routers == ()} == {"cp1", "cp2", "cp3"}


def test_where_nodes_wrap_nothing_for_their_pods_no_size_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                  world: World) -> None:
    assert {alone.sized for alone in probed(world).alone.values()} == {True}
    (tmp_path / "routed").mkdir()
    routed = World.make(tmp_path / "routed", monkeypatch, config={"flannel": {"Backend": {"Type": "host-gw"}}})
    assert {alone.sized for alone in probed(routed).alone.values()} == {False}


def test_every_host_listens_before_anyone_tries(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = world.hosts.network.reach

    def reach(host: str, request: Mapping[str, Any], says: Iterable[bytes], take: Take) -> None:
        def noted(line: dict[str, Any]) -> None:
            order.extend(word for word in ("listening", "tried") if word in line)
            take(line)
        real(host, request, says, noted)

    monkeypatch.setattr(world.hosts.network, "reach", reach)
    probed(world)
    assert order == ["listening"] * 5 + ["tried"] * 74


def test_what_is_refused_and_what_is_dropped_are_told_apart(world: World) -> None:
    world.hosts.network.lost = {("cp2", (CP1, "tcp", 2380)): "timed out", ("w1", (CP1, "tcp", 6443)): "refused",
                                ("w1", ("10.77.0.22", "udp", 8472)): "timed out"}
    done = probed(world)
    assert {(t.need.source, t.need.target, t.need.at, t.why) for t in done.tried if t.ok is False} == {
        ("cp2", "cp1", "tcp 2380", "timed out"), ("w1", "cp1", "tcp 6443", "refused"),
        ("w1", "w2", "udp 8472", "timed out")}


def test_an_advertisement_that_the_other_one_did_not_hear_is_lost(world: World) -> None:
    world.hosts.network.lost = {("cp1", (CP2, "vrrp", 0)): "timed out"}
    done = probed(world)
    assert [(t.need.source, t.need.target) for t in done.tried if t.ok is False] == [("cp1", "cp2")]


def test_only_new_hosts_find_out_what_their_own_disk_takes_and_others_only_answer(built: World) -> None:
    done = probed(built, {"w1"})
    asked = built.hosts.network.asked
    assert set(asked) == ALL, "its neighbours take part"
    assert {name for name, request in asked.items() if "fsync" in request or "dns" in request} == {"w1"}
    assert all("w1" in (t.need.source, t.need.target) for t in done.tried)
    assert {name for name, request in asked.items() if "fsync" in request} == set(), "a worker has no member"


def test_no_port_of_a_service_is_taken_on_a_host_of_the_cluster(built: World) -> None:
    """A member that waits for its start would find its port taken."""
    network = built.hosts.network
    network.lost = {("cp2", (CP1, "tcp", 2380)): "refused", ("w1", (CP1, "tcp", 6443)): "timed out"}
    done = probed(built, thorough=True)
    assert {one["protocol"] for request in network.asked.values() for one in request["listen"]} == {"vrrp"}
    waiting, dropped = of(done, "cp2", "cp1", "tcp 2380"), of(done, "w1", "cp1", "tcp 6443")
    assert (waiting.ok, waiting.why) == (None, "nobody listens at tcp 2380 of cp1 now")
    assert (dropped.ok, dropped.why) == (False, "timed out")
    assert of(done, "cp3", "cp1", "tcp 2380").ok is True


def test_a_host_that_ends_without_a_word_is_not_looked_at_and_holds_nobody_up(world: World) -> None:
    world.hosts.network.mute = {"cp3"}
    done = probed(world)
    assert {t.ok for t in done.tried if "cp3" in (t.need.source, t.need.target)} == {None}
    assert {t.why for t in done.tried if t.ok is None} == {"cp3 could not be asked"}
    assert {t.ok for t in done.tried if "cp3" not in (t.need.source, t.need.target)} == {True}
    assert done.alone["cp3"].unseen == dict.fromkeys(("fsync", "dns", "arp"), "no answer in time")


def test_a_host_whose_login_fails_is_named_with_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.session() as session:
        survey(session)
        fault = Unreachable("w1: connecting: no route")
        real = world.hosts.on

        def on(host: str, *, patient: bool = True) -> FakeOne:
            if host == "w1":
                raise fault
            return real(host)

        monkeypatch.setattr(world.hosts, "on", on)
        done = pairs.probe(session)
    assert {t.why for t in done.tried if t.ok is None} == {"w1 could not be asked: connecting: no route"}


def test_where_nobody_can_listen_nothing_is_said_of_the_way(world: World) -> None:
    world.hosts.network.deaf = {("w1", "tcp", 10250): "Cannot assign requested address"}
    done = probed(world)
    assert of(done, "cp1", "w1", "tcp 10250").why == "w1 could not listen there: Cannot assign requested address"
    assert of(done, "cp1", "w1", "tcp 10250").ok is None


def test_while_the_pod_network_runs_its_own_addresses_are_asked(built: World) -> None:
    """The kernel has the port of VXLAN then and answers nothing; a packet through the overlay goes that very way."""
    network = built.hosts.network
    network.theirs = {(name, "udp", 8472) for name in ALL}
    for number, host in enumerate(built.hosts.hosts.values()):
        own = Interface("flannel.1", (f"10.244.{number}.0/32",), 1450)
        host.facts = replace(host.facts, interfaces=(*host.facts.interfaces, own))
    done = probed(built, thorough=True)
    assert [t for t in done.tried if t.ok is not True] == []
    asked = {(one["protocol"], one["address"], one["size"]) for one in network.went["cp1"] if one["protocol"] == "icmp"}
    assert asked == {("icmp", f"10.244.{n}.0", 0) for n in range(1, 5)} | {
        ("icmp", a, 1500) for a in (CP2, "10.77.0.13", W1, "10.77.0.22")}


def test_a_port_of_the_overlay_that_somebody_else_has_is_not_looked_at(world: World) -> None:
    world.hosts.network.theirs = {("w1", "udp", 8472)}
    tried = of(probed(world), "cp1", "w1", "udp 8472")
    assert (tried.ok, tried.why) == (None, "where somebody has udp 8472 already, nobody answers a question of ours")


def test_what_a_host_could_not_look_at_says_why(world: World) -> None:
    world.hosts.network.said = {("cp1", "fsync"): {"unseen": "only 80 MiB are free"},
                                ("w1", "arp"): {"unseen": "nobody could be asked by ARP"}}
    done = probed(world)
    assert (done.alone["cp1"].disk, done.alone["cp1"].unseen) == (None, {"fsync": "only 80 MiB are free"})
    assert (done.alone["w1"].also, done.alone["w1"].unseen) == (None, {"arp": "nobody could be asked by ARP"})


def test_advertisements_of_others_are_kept_and_ours_are_not(world: World) -> None:
    world.hosts.network.adverts = {"cp1": [["10.77.0.99", 10, False, 4]]}
    done = probed(world)
    assert (done.router, done.alone["cp1"].routers, done.alone["cp2"].routers) == (10, (("10.77.0.99", 10),), ())
    probes = [one for one in world.hosts.network.went["cp1"] if one["protocol"] == "vrrp"]
    assert {one["router"] for one in probes} == {245}, "a keepalived that runs must not take it for its own"


NUMBER = {"id": 0, "ok": True}


@pytest.mark.parametrize("line", [
    {"tried": {"id": 0}}, {"tried": {"id": [0], "ok": True}}, {"tried": {"id": 99_999, "ok": True}}, {"tried": 7},
    {"tried": {"id": 0, "ok": "yes"}}, {"tried": {"id": 0, "ok": False}}, {"tried": {**NUMBER, "ms": "fast"}},
    {"tried": {**NUMBER, "passes": {}}}, {"listening": [["tcp", 2380]]}, {"listening": 1}, {"vrrp": [["x", 1, True]]},
    {"arp": {}}, {"arp": {"also": None}}, {"fsync": {"p99": "slow"}}, {"fsync": []}, {"dns": {"servers": [{}]}},
    {"dns": {"servers": [{"server": "10.0.0.1", "seconds": 1, "wild": []}]}}, {"dns": None}], ids=str)
def test_an_answer_of_no_known_form_is_that_host_s_fault_and_nobody_else_s(
        world: World, monkeypatch: pytest.MonkeyPatch, line: dict[str, Any]) -> None:
    real = world.hosts.network.reach

    def reach(host: str, request: Mapping[str, Any], says: Iterable[bytes], take: Take) -> None:
        def spoilt(good: dict[str, Any]) -> None:
            take(line if host == "cp1" and "all" in good else good)
        real(host, request, says, spoilt)

    monkeypatch.setattr(world.hosts.network, "reach", reach)
    done = probed(world)
    assert {t.ok for t in done.tried if "cp1" not in (t.need.source, t.need.target)} == {True}
    assert {t.why.partition("read")[0] for t in done.tried if "cp1" in (t.need.source, t.need.target)} == {
        "cp1 could not be asked: its answer cannot be "}


def test_what_nobody_asked_for_is_not_kept() -> None:
    assert told_of({"all": True, "more": "x" * 99, "tried": {**NUMBER, "note": "x" * 99}}, {0}) == {
        "all": True, "tried": {**NUMBER, "ms": [], "lost": 0, "of": 0, "passes": None}}


def test_an_interrupt_ends_what_runs_on_the_hosts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    def reach(host: str, request: Mapping[str, Any], says: Iterable[bytes], take: Take) -> None:
        for _ in says:
            pass
        ended.append(host)

    monkeypatch.setattr(world.hosts.network, "reach", reach)

    def wait(self: Any, *_: Any) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr(pairs._Meeting, "_wait", wait)
    with pytest.raises(Interrupted):
        probed(world)
    for thread in (t for t in threading.enumerate() if t.name.startswith("reach-")):
        thread.join(5)
    assert sorted(ended) == sorted(ALL)
