"""Many hosts: every outcome kept, one error that holds all, connections shared and closed."""

from __future__ import annotations

import dataclasses
import getpass
import socket
import threading
from collections.abc import Callable

import pytest

from provisioner.errors import GateFailed, KubewrightError, LockHeld, Unreachable
from provisioner.transport import login as login_module
from provisioner.transport.connection import Connection
from provisioner.transport.faults import HostFault
from provisioner.transport.pool import Pool, raise_all
from provisioner.transport.target import Hop, Target
from tests.fakes.sshd import Sshd, connections, free_port

MakeTarget = Callable[..., Target]


def test_a_hosts_failure_is_its_own_outcome(target: MakeTarget) -> None:
    with Pool({"a": target("a"), "b": target("b", port=free_port()), "c": target("c")}) as pool:
        outcomes = pool.map(lambda c: c.run(["echo", c.name]).stdout, ["a", "b", "c"])
    assert (outcomes["a"], outcomes["c"]) == (b"a\n", b"c\n")
    assert isinstance(outcomes["b"], Unreachable)


def test_a_bug_on_one_host_is_that_hosts_outcome(target: MakeTarget) -> None:
    def work(connection: Connection) -> int:
        return 1 // (0 if connection.name == "b" else 1)
    with Pool({"a": target("a"), "b": target("b")}) as pool:
        outcomes = pool.map(work, ["a", "b"])
    assert outcomes["a"] == 1
    assert isinstance(outcomes["b"], KubewrightError) and "b: this is a bug: ZeroDivisionError" in str(outcomes["b"])


def test_one_login_serves_all_calls_and_a_lost_one_is_made_anew(target: MakeTarget) -> None:
    with Pool({"a": target("a")}) as pool:
        first = pool.connection("a").transport
        assert pool.each(lambda c: c.transport, ["a"])["a"] is first
        first.close()
        assert pool.each(lambda c: c.run(["true"]).rc, ["a"]) == {"a": 0}


def test_closing_ends_every_connection(target: MakeTarget) -> None:
    with Pool({n: target(n) for n in "abc"}) as pool:
        transports = [pool.connection(n).transport for n in "abc"]
    assert not any(t.is_active() for t in transports)


def test_hosts_are_worked_on_at_the_same_time(target: MakeTarget) -> None:
    together = threading.Barrier(6)
    with Pool({str(n): target(str(n)) for n in range(6)}) as pool:
        assert set(pool.each(lambda c: together.wait(20) >= 0, pool.targets).values()) == {True}


def test_the_jump_host_greets_us_once(target: MakeTarget, sshd: Sshd) -> None:
    jump = Hop(getpass.getuser(), "localhost", sshd.port)
    known = sshd.known_hosts + sshd.pinned_at("localhost")
    with Pool({"own": target("own")}) as pool:
        pool.connection("own").run(["true"])        # of the logins before this one each has been written down by now
    before = sshd.log.count("Accepted publickey")
    first = target("0", jump=jump, known_hosts=known)
    with Pool({str(n): dataclasses.replace(first, name=str(n)) for n in range(12)}) as pool:
        assert set(pool.each(lambda c: c.run(["true"]).rc, pool.targets).values()) == {0}
    assert sshd.log.count("Accepted publickey") - before == 13


def test_a_silent_jump_host_is_waited_for_once_and_told_for_every_host(
        target: MakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_module, "CONNECT_TIMEOUT", 1.0)
    with socket.create_server(("127.0.0.1", 0), backlog=20) as silent:
        jump = Hop("nobody", "127.0.0.1", silent.getsockname()[1])
        first = target("0", jump=jump)
        with Pool({str(n): dataclasses.replace(first, name=str(n)) for n in range(8)}) as pool:
            outcomes = pool.map(lambda c: c.name, pool.targets)
        assert connections(silent) == 1, "not eight waits, one after the other"
    assert {o.message.partition(":")[0] for o in outcomes.values() if isinstance(o, Unreachable)} == set(outcomes)
    with pytest.raises(Unreachable, match=f"6, 7: jump host {jump}: it takes the connection and then says nothing"):
        raise_all(dict(sorted(outcomes.items())))


def fault(host: str, saw: str, code: str = "refused", hint: str = "") -> HostFault:
    return HostFault(host, f"connecting as admin@{host}:22", saw, code=code, hint=hint)


def test_a_single_fault_is_raised_as_it_is() -> None:
    only = fault("a", "connection refused")
    with pytest.raises(Unreachable) as caught:
        raise_all({"a": only, "b": 1})
    assert caught.value is only


def test_one_cause_on_many_hosts_is_one_line() -> None:
    with pytest.raises(Unreachable) as caught:
        raise_all({h: fault(h, "connection refused", hint="is sshd running?") for h in ("a", "b")} | {"c": 1})
    assert caught.value.message == "a, b: connection refused"
    assert caught.value.details == ("the other 1 of 3 hosts answered",)
    assert (caught.value.hint, caught.value.code, caught.value.exit_code) == ("is sshd running?", "refused", 12)


def test_unknown_keys_of_many_hosts_are_trusted_with_one_command() -> None:
    faults = {h: fault(h, f"unknown host key SHA256:{h}", "host-key-unknown", f"kubewright trust {h}") for h in "ab"}
    with pytest.raises(Unreachable) as caught:
        raise_all(faults)
    assert caught.value.message == "a, b: unknown host key"
    assert caught.value.hint == "kubewright trust a b"
    assert [d for d in caught.value.details if "SHA256:a" in d or "SHA256:b" in d] == list(caught.value.details)


def test_one_error_holds_all_hosts_and_all_causes() -> None:
    with pytest.raises(Unreachable) as caught:
        raise_all({"a": fault("a", "connection refused"), "b": fault("b", "connection refused"),
                   "c": fault("c", "no route to the host", "no-route"),
                   "d": LockHeld("d: observing: step x still runs", details=["since 10:41"])})
    assert caught.value.message == "a, b, c, d: 3 different faults"
    text = "\n".join(caught.value.details)
    for words in ("a: connecting as admin@a:22: connection refused", "b: connecting as admin@b:22: connection refused",
                  "c: connecting as admin@c:22: no route", "d: observing: step x still runs", "since 10:41"):
        assert words in text


def test_the_exit_code_is_the_causes_own() -> None:
    with pytest.raises(GateFailed) as caught:
        raise_all({"a": GateFailed("a: waiting: not ready"), "b": GateFailed("b: waiting: not ready")})
    assert caught.value.message == "a, b: waiting: not ready"


def test_the_same_cure_on_many_hosts_is_one_line() -> None:
    faults = {h: fault(h, "there is no python3", "no-python", f"on {h}: apt-get install -y python3") for h in "abc"}
    with pytest.raises(Unreachable) as caught:
        raise_all(faults)
    assert caught.value.hint == "on a, b, c: apt-get install -y python3"


def test_a_command_for_each_of_many_hosts_is_shown_for_a_few() -> None:
    hosts = [f"h{n:03d}" for n in range(500)]
    with pytest.raises(Unreachable) as caught:
        raise_all({h: fault(h, "no key", "ssh-auth", f"ssh-copy-id admin@{h}") for h in hosts})
    assert caught.value.hint.startswith("ssh-copy-id admin@h000; ssh-copy-id admin@h001; ")
    assert caught.value.hint.endswith("ssh-copy-id admin@h007  # and 492 more such")
