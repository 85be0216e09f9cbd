"""HAProxy's words read, and states set through its socket, each host for itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import KubewrightError
from provisioner.operate import haproxy
from provisioner.operate.haproxy import Server
from provisioner.transport.hosts import OneHost
from tests.fakes.haproxy import FakeBalancer
from tests.fakes.hosts import FakeHosts
from tests.unit.compile.compile_fixture import lock

RECORDED = Path(__file__).resolve().parents[2] / "cases" / "haproxy"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


class Balancers(FakeHosts):
    """The HAProxies of w1 and w2; a third host has none."""

    def ask(self, one: OneHost, path: str, lines: Sequence[str], *, span: float = 0.0,
            again: Sequence[str] | None = None, until: Sequence[str] = ()) -> list[list[str]]:
        assert path == "/run/haproxy/admin.sock"
        if one.name not in self.balancers:
            raise KubewrightError(f"{one.name}: applier socket: exit 1: applier: No such file or directory")
        return super().ask(one, path, lines, span=span, again=again, until=until)


HOSTS = Balancers({}, lock())


@pytest.fixture
def balancers() -> dict[str, FakeBalancer]:
    HOSTS.balancers = {h: FakeBalancer(lambda server: True) for h in ("w1", "w2")}
    return HOSTS.balancers


def test_the_states_of_servers_are_read_from_what_a_real_haproxy_said() -> None:
    assert haproxy.servers_of(recorded("states-ready")) == {
        n: Server(n, "ready", up=True) for n in ("cp1", "cp2", "cp3")}
    assert haproxy.servers_of(recorded("states-down")) == {
        "cp1": Server("cp1", "ready", up=False), "cp2": Server("cp2", "drain", up=True),
        "cp3": Server("cp3", "maint", up=False)}
    assert haproxy.drained(recorded("states-down")) == ["cp2", "cp3"]
    assert haproxy.drained(recorded("states-ready")) == []


def test_a_drained_server_is_up_and_gets_nothing_new() -> None:
    assert not Server("cp1", "drain", up=True).in_service
    assert not Server("cp1", "ready", up=False).in_service
    assert Server("cp1", "ready", up=True).in_service


def test_sessions_are_counted_from_what_a_real_haproxy_said() -> None:
    assert set(haproxy.totals_of(recorded("stat-ready"))) == {"cp1", "cp2", "cp3"}
    assert sum(haproxy.totals_of(recorded("stat-ready")).values()) > 0


def test_sessions_that_came_by_the_vip_count_too() -> None:
    text = "# pxname,svname,stot\napiservers,cp1,3\napiservers,cp2,1\napiservers-vip,cp1,4\napiservers-vip,cp2,0\n\n"
    assert haproxy.totals_of(text) == {"cp1": 7, "cp2": 1}


@pytest.mark.parametrize("text", [
    "", "\n", "Can't find backend.\n", "2\n# srv_name\n", "1\n# srv_id srv_name\n1 cp1\n"])
def test_what_is_no_list_of_servers_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError, match="list of servers"):
        haproxy.servers_of(text)
    assert haproxy.drained(text) == []


@pytest.mark.parametrize("text", ["", "No such proxy.\n", "# pxname,svname\napiservers,cp1\n"])
def test_what_are_no_counters_is_not_taken_for_any(text: str) -> None:
    with pytest.raises(ValueError, match="not the counters"):
        haproxy.totals_of(text or "x\ny\n")


def test_a_state_is_set_on_all_hosts_and_read_again_from_each(balancers: dict[str, FakeBalancer]) -> None:
    seen = haproxy.set_state(HOSTS, ["w1", "w2", "gone"], ["cp2"], "drain")
    assert [b.states["cp2"] for b in balancers.values()] == ["drain", "drain"]
    for host in ("w1", "w2"):
        answer = seen[host]
        assert not isinstance(answer, KubewrightError) and answer["cp2"].admin == "drain"
    assert isinstance(seen["gone"], KubewrightError), "its silence is its own outcome"


def test_a_server_that_a_haproxy_does_not_know_is_a_fault_of_that_host(balancers: dict[str, FakeBalancer]) -> None:
    del balancers["w2"].states["cp3"]
    fault = haproxy.set_state(HOSTS, ["w1", "w2"], ["cp3"], "drain")["w2"]
    assert isinstance(fault, haproxy.HaproxyFault)
    assert (fault.exit_code, fault.code) == (13, "haproxy")
    assert fault.message == ("w2: HAProxy: setting a server's state: "
                             "set server apiservers/cp3 state drain: No such server.")


def test_new_sessions_are_those_between_the_first_and_last_look_after_the_drain(
        balancers: dict[str, FakeBalancer]) -> None:
    balancers["w1"].totals["cp1"] = 40
    balancers["w2"].late["cp1"] = 5
    seen = haproxy.watch(HOSTS, ["w1", "w2"], "cp1", 1.0, state="drain")
    assert {h: o[1] for h, o in seen.items() if not isinstance(o, KubewrightError)} == {"w1": 0, "w2": 1}
    assert {h: o[0]["cp1"].admin for h, o in seen.items() if not isinstance(o, KubewrightError)} == {
        "w1": "drain", "w2": "drain"}


def test_a_server_that_cannot_be_drained_is_not_watched(balancers: dict[str, FakeBalancer]) -> None:
    del balancers["w2"].states["cp3"]
    fault = haproxy.watch(HOSTS, ["w1", "w2"], "cp3", 1.0, state="drain")["w2"]
    assert isinstance(fault, haproxy.HaproxyFault) and "setting a server's state" in fault.message


def test_a_host_ends_its_looking_at_what_a_real_haproxy_says_of_a_server_in_service() -> None:
    ready, down = recorded("states-ready"), recorded("states-down")
    for server in ("cp1", "cp2", "cp3"):
        (pattern,) = haproxy._serving([server])
        assert re.search(pattern, ready, re.M) and not re.search(pattern, down, re.M), server
    (pattern,) = haproxy._serving(["cp"])
    assert not re.search(pattern, ready, re.M)


def test_a_server_that_comes_back_while_the_host_looks_is_seen_in_that_round(
        balancers: dict[str, FakeBalancer]) -> None:
    looks = iter([False, True, True, True])
    balancers["w1"].is_up = lambda server: server != "cp1" or next(looks)
    balancers["w2"].is_up = lambda server: server != "cp1"
    seen = haproxy.set_state(HOSTS, ["w1", "w2"], ["cp1"], "ready", 4.0)
    assert {h: o["cp1"].in_service for h, o in seen.items() if not isinstance(o, KubewrightError)} == {
        "w1": True, "w2": False}


def test_an_answer_that_is_something_else_is_a_fault_and_not_silence(
        balancers: dict[str, FakeBalancer], monkeypatch: pytest.MonkeyPatch) -> None:
    odd: Any = lambda *a, **k: [["Permission denied\n"] * 2] * 2  # noqa: E731
    monkeypatch.setattr(HOSTS, "ask", odd)
    for outcomes in (haproxy.look(HOSTS, ["w1"]), haproxy.watch(HOSTS, ["w1"], "cp1", 1.0)):
        assert isinstance(outcomes["w1"], haproxy.HaproxyFault)
        assert "Permission denied" in outcomes["w1"].message
