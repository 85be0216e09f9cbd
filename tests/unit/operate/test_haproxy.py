"""HAProxy's words read, and states set through its socket, each host for itself."""

from __future__ import annotations

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

    def ask(self, one: OneHost, path: str, lines: Sequence[str], *, span: float = 0.0) -> list[list[str]]:
        assert path == "/run/haproxy/admin.sock"
        if one.name not in self.balancers:
            raise KubewrightError(f"{one.name}: applier socket: exit 1: applier: No such file or directory")
        return super().ask(one, path, lines, span=span)


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


def test_new_sessions_are_those_between_the_first_and_the_last_look(balancers: dict[str, FakeBalancer]) -> None:
    balancers["w1"].totals["cp1"] = 40
    balancers["w2"].late["cp1"] = 5
    assert haproxy.new_sessions(HOSTS, ["w1", "w2"], "cp1", 1.0) == {"w1": 0, "w2": 1}


def test_an_answer_that_is_something_else_is_a_fault_and_not_silence(
        balancers: dict[str, FakeBalancer], monkeypatch: pytest.MonkeyPatch) -> None:
    odd: Any = lambda *a, **k: [["Permission denied\n"], ["Permission denied\n"]]  # noqa: E731
    monkeypatch.setattr(HOSTS, "ask", odd)
    for outcomes in (haproxy.look(HOSTS, ["w1"]), haproxy.new_sessions(HOSTS, ["w1"], "cp1", 1.0)):
        assert isinstance(outcomes["w1"], haproxy.HaproxyFault)
        assert "Permission denied" in outcomes["w1"].message
