from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from provisioner.applier import probe as module
from provisioner.applier.probe import probe
from tests.unit.applier.support import FakeHost, pair


def ask(box: FakeHost, *probes: dict, deadline: float = 0.0, interval: float = 0.02) -> dict[str, Any]:
    return probe(box.host, {"probes": [{"name": str(n), **p} for n, p in enumerate(probes)], "deadline": deadline,
                            "interval": interval})


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each attempt time enough: the server is a thread of these tests."""
    for name in ("ATTEMPT", "FIRST_ATTEMPT"):
        monkeypatch.setattr(module, name, 20.0)


def reason(box: FakeHost, one: dict, **more: float) -> str:
    answer = ask(box, one, **more)
    assert answer["ok"] is answer["results"][0]["ok"]
    return str(answer["results"][0]["reason"])


def test_a_file_that_appears_ends_the_waiting(box: FakeHost) -> None:
    threading.Timer(0.15, box.put, ("/run/ready", "")).start()
    answer = ask(box, {"kind": "file", "path": "/run/ready"}, deadline=60)
    assert answer["ok"]
    assert answer["seconds"] < 30


def test_the_deadline_ends_the_waiting_with_the_last_reason(box: FakeHost) -> None:
    answer = ask(box, {"kind": "file", "path": "/run/ready"}, {"kind": "tcp", "address": "127.0.0.1", "port": 1},
                 deadline=0.2)
    assert not answer["ok"]
    assert answer["results"][0] == {"name": "0", "ok": False, "reason": "not there"}
    assert "refused" in answer["results"][1]["reason"]


@pytest.mark.parametrize(("unit", "expected"), [
    ({"ActiveState": "active"}, ""),
    ({"ActiveState": "active", "Job": "12"}, "a job is waiting"),
    ({"ActiveState": "activating", "SubState": "auto-restart"}, "activating (auto-restart)"),
    ({"LoadState": "not-found"}, "no such unit"),
])
def test_a_unit_holds_when_active_without_a_job(box: FakeHost, unit: dict, expected: str) -> None:
    box.set_units(x=unit)
    text = reason(box, {"kind": "unit", "unit": "x.service"})
    assert expected in text
    assert bool(text) is bool(expected)


def test_the_old_process_is_not_taken_for_the_new(box: FakeHost) -> None:
    one = {"kind": "unit", "unit": "x.service", "current": True, "inputs": ["/etc/x"]}
    box.set_units(x={"ActiveState": "active"})
    assert "no record of its start" in reason(box, one)
    box.put("/etc/x", "1")
    box.put("/etc/kubewright/inputs/x.service", "/etc/x\n")
    box.stamp("x.service")
    assert reason(box, one) == ""
    box.put("/etc/x", "2")
    assert "started with other inputs: /etc/x" in reason(box, one)


def test_a_unit_that_keeps_exiting_ends_the_waiting_at_once(box: FakeHost) -> None:
    box.set_units(x={"ActiveState": "activating", "NRestarts": "4"})
    began = time.monotonic()
    assert "exited 2 times" in reason(box, {"kind": "unit", "unit": "x.service", "since_restarts": 2}, deadline=30)
    assert time.monotonic() - began < 25
    assert "exited" not in reason(box, {"kind": "unit", "unit": "x.service", "since_restarts": 3})


@pytest.mark.parametrize(("unit", "hopeless"), [
    ({"ActiveState": "active"}, True),
    ({"ActiveState": "activating", "SubState": "start"}, True),
    ({"ActiveState": "active", "Job": "12"}, False),                    # it stops, and another comes
    ({"ActiveState": "deactivating", "SubState": "stop-sigterm"}, False),
    ({"ActiveState": "activating", "SubState": "auto-restart"}, False),
    ({"ActiveState": "active", "ExecMainStartTimestampMonotonic": "0"}, False)])
def test_what_is_not_there_a_while_after_the_start_of_its_unit_is_waited_for_no_longer(
        box: FakeHost, unit: dict, hopeless: bool) -> None:
    began = str(int((time.monotonic() - 90) * 1e6))
    box.set_units(x={"ExecMainStartTimestampMonotonic": began, **unit})
    one = {"kind": "file", "path": "/run/ready", "unit": "x.service"}
    answer = ask(box, {**one, "patience": 60})
    assert answer["hopeless"] is hopeless
    assert ("not there, 90 s after the start of x.service" in answer["results"][0]["reason"]) is hopeless
    assert not ask(box, {**one, "patience": 1000})["hopeless"]
    assert not ask(box, one)["hopeless"]


def test_many_units_cost_one_call_a_round(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    box.set_units(**{f"u{n}": {"ActiveState": "active"} for n in range(10)})
    calls = []
    run = box.host.run
    monkeypatch.setattr(box.host, "run", lambda argv, **more: (calls.append(argv), run(argv, **more))[1])
    assert ask(box, *({"kind": "unit", "unit": f"u{n}.service"} for n in range(10)))["ok"]
    assert len(calls) == 1


def test_what_held_once_is_confirmed_when_the_rest_holds(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("/run/a", "")

    def after_each_round() -> bool:
        if box.path("/run/b").exists():
            return True
        box.path("/run/a").unlink()
        box.put("/run/b", "")
        return False

    monkeypatch.setattr(module, "caller_gone", after_each_round)
    answer = ask(box, {"kind": "file", "path": "/run/a"}, {"kind": "file", "path": "/run/b"}, deadline=60)
    assert [r["ok"] for r in answer["results"]] == [False, True]


def test_a_program_is_started_for_a_probe_once_nothing_else_is_waited_for(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[bool] = []
    monkeypatch.setitem(module.KINDS, "rules", lambda look, one, timeout: started.append(box.path("/run/a").exists()))
    rounds = iter(range(100))

    def after_each_round() -> bool:
        if next(rounds) == 3:
            box.put("/run/a", "")
        return False

    monkeypatch.setattr(module, "caller_gone", after_each_round)
    assert ask(box, {"kind": "rules"}, {"kind": "file", "path": "/run/a"}, deadline=60)["ok"]
    assert started == [True]


def test_in_the_end_the_reason_of_each_probe_is_told_whatever_else_does_not_hold(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setitem(module.KINDS, "rules", lambda look, one, timeout: given.append(timeout) or "gone")
    answer = ask(box, {"kind": "rules"}, {"kind": "file", "path": "/run/a"}, deadline=0.2)
    assert [r["reason"] for r in answer["results"]] == ["gone", "not there"]
    assert len(given) == 1 and given[0] > module.FIRST_ATTEMPT / 2, "what the others have waited is not taken from it"


def test_when_waiting_is_hopeless_what_programs_tell_is_told_all_the_same(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def hopeless(look: object, one: object, timeout: float) -> str | None:
        raise module.Hopeless("it exits")

    monkeypatch.setitem(module.KINDS, "rules", lambda look, one, timeout: None)
    monkeypatch.setitem(module.KINDS, "unit", hopeless)
    answer = ask(box, {"kind": "unit"}, {"kind": "rules"}, deadline=60)
    assert answer["hopeless"] and [r["reason"] for r in answer["results"]] == ["it exits", ""]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"[-]etcd failed: reason withheld\n" if self.path == "/readyz" else b"ok"
        self.send_response(500 if self.path == "/readyz" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def server(context: ssl.SSLContext | None = None) -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        if context:
            web.socket = context.wrap_socket(web.socket, server_side=True)
        threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()
        yield web.server_address[1]
        web.shutdown()


@pytest.mark.usefixtures("patient")
def test_a_status_that_is_not_the_wanted_one_comes_with_the_body(box: FakeHost) -> None:
    with server() as port:
        assert reason(box, {"kind": "http", "url": f"http://127.0.0.1:{port}/livez"}, deadline=2) == ""
        assert reason(box, {"kind": "http", "url": f"http://127.0.0.1:{port}/readyz", "status": 500}, deadline=2) == ""
        text = reason(box, {"kind": "http", "url": f"http://127.0.0.1:{port}/readyz"}, deadline=0.1)
    assert text == "500 Internal Server Error: [-]etcd failed: reason withheld"


@pytest.mark.usefixtures("patient")
def test_tls_is_verified_against_the_given_ca_and_name_with_our_certificate(box: FakeHost) -> None:
    ours, theirs = pair("client"), pair("server")
    for name, data in (("ours.crt", ours[0]), ("ours.key", ours[1]), ("theirs.crt", theirs[0]),
                       ("theirs.key", theirs[1])):
        box.put(f"/pki/{name}", data, 0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(box.path("/pki/theirs.crt"), box.path("/pki/theirs.key"))
    context.load_verify_locations(box.path("/pki/ours.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    with server(context) as port:
        good = {"kind": "http", "url": f"https://127.0.0.1:{port}/livez", "ca": "/pki/theirs.crt",
                "cert": "/pki/ours.crt", "key": "/pki/ours.key", "server_name": "api.test"}
        assert reason(box, good, deadline=2) == ""
        assert "certificate verify failed" in reason(box, good | {"server_name": "other.test"})
        assert "certificate verify failed" in reason(box, good | {"ca": "/pki/ours.crt"})
        assert reason(box, {k: v for k, v in good.items() if k not in ("cert", "key")}) != ""


def test_a_server_that_accepts_and_says_nothing_costs_one_attempt_not_the_deadline(box: FakeHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        text = reason(box, {"kind": "http", "url": f"http://127.0.0.1:{mute.getsockname()[1]}/"}, deadline=0.3)
        assert time.monotonic() - began < 20     # an attempt takes 1 s, were it without limit it would last for ever
    assert "timed out" in text


def test_an_unknown_probe_is_refused(box: FakeHost) -> None:
    assert "unknown kind of probe" in box.call("probe", {"probes": [{"kind": "magic"}]}, status=1)
