"""`sample` as a process of its own, against servers on loopback: what is tried, what is told, and when it ends."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from provisioner.applier import package
from provisioner.lab.processes import wait_until
from tests.unit.applier.support import FakeHost, pair

TOKEN = "canary-7f3a"


class Web(http.server.ThreadingHTTPServer):
    """Answers as its path says, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, str, str]] = []
        self.connections = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.asked.append((self.command, self.path, body, self.headers.get("Authorization", "")))
        if self.path == "/slow":
            time.sleep(0.5)
        if self.path == "/together":
            self._wait_for(6)
        if self.path == "/drop":
            self.close_connection = True
            return
        if self.path.startswith("/lines"):
            return self._lines()
        status = 500 if self.path == "/broken" else 201 if self.command == "POST" else 200
        text = b'{"kind": "Status", "message": "etcd is away"}' if status == 500 else b"0123456789"
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text[:4] if self.path == "/cut" else text)
        if self.path == "/cut":
            self.close_connection = True

    do_POST = do_GET

    def _wait_for(self, requests: int) -> None:
        wait_until(lambda: len(self.server.asked) >= requests, 30, 0.01)

    def _lines(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(2):
            self.wfile.write(b"3\r\n{}\n\r\n")
        if self.path == "/lines/closed":
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@contextlib.contextmanager
def started(box: FakeHost, *series: dict[str, Any], **request: Any) -> Iterator[subprocess.Popen[bytes]]:
    argv = package.argv("sample")
    process = subprocess.Popen([sys.executable, *argv[1:-1], "--root", str(box.root), argv[-1]], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        named = [{"name": f"s{n}", **one} for n, one in enumerate(series)]
        process.stdin.write(package.frame({"series": named, **request}))
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def lines_of(box: FakeHost, *series: dict[str, Any], duration: float = 0.4) -> list[dict[str, Any]]:
    with started(box, *series, duration=duration) as process:
        assert process.stdout is not None
        return [json.loads(line) for line in process.stdout]


def records(box: FakeHost, *series: dict[str, Any], duration: float = 0.4) -> list[dict[str, Any]]:
    lines = lines_of(box, *series, duration=duration)
    assert lines[-1]["end"] == "duration"
    return [a for line in lines for a in line["attempts"]]


def records_until(
        box: FakeHost, enough: Callable[[list[dict[str, Any]]], bool], *series: dict[str, Any]) -> list[dict[str, Any]]:
    """Let the series run until what they told is enough, and return all that they told."""
    found: list[dict[str, Any]] = []
    with started(box, *series, duration=60) as process:
        assert process.stdin and process.stdout
        for line in process.stdout:
            found += json.loads(line)["attempts"]
            if enough(found) and not process.stdin.closed:
                process.stdin.close()
    return found


def url(web: Web, path: str) -> str:
    return f"http://127.0.0.1:{web.server_address[1]}{path}"


def test_every_attempt_is_a_connection_of_its_own_with_a_time_and_no_reason(box: FakeHost, web: Web) -> None:
    found = records_until(box, lambda found: len(found) >= 5, {"kind": "http", "url": url(web, "/"), "rate": 20})
    assert len(found) == web.connections
    assert all(a.keys() - {"blind"} == {"s", "at", "took"} and a["s"] == "s0" for a in found)
    assert len({a["at"] for a in found}) == len(found)


def test_a_slow_attempt_does_not_delay_the_next(box: FakeHost, web: Web) -> None:
    found = records_until(box, lambda found: len(found) >= 6,
                          {"kind": "http", "url": url(web, "/together"), "rate": 20, "timeout": 60})
    assert not any("why" in a for a in found)
    ends = sorted(a["at"] + a["took"] for a in found)
    assert sum(a["at"] < ends[0] for a in found) >= 6, "six were under way at once: none is answered before"


@pytest.mark.parametrize(("path", "why", "cut"), [
    ("/broken", "500 Internal Server Error: etcd is away", False),
    ("/slow", "no answer within 0.2 s", False),
    ("/cut", "cut within the answer", True),
    ("/drop", "cut before the answer", True),
])
def test_what_is_not_a_whole_good_answer_in_time_has_failed(
        box: FakeHost, web: Web, path: str, why: str, cut: bool) -> None:
    found = records(box, {"kind": "http", "url": url(web, path), "rate": 5, "timeout": 0.2 if path == "/slow" else 20},
                    duration=0.1)
    assert found
    assert all(a["why"].startswith(why) and a.get("cut", False) is cut for a in found)


def test_a_refused_connection_and_a_mute_server_have_failed(box: FakeHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        found = records(box, {"kind": "tcp", "address": "127.0.0.1", "port": 1, "rate": 1},
                        {"kind": "tcp", "address": "127.0.0.1", "port": port, "rate": 1},
                        {"kind": "http", "url": f"http://127.0.0.1:{port}/", "rate": 1, "timeout": 0.1}, duration=0.1)
    assert {a["s"]: a.get("why") for a in found} == {
        "s0": "connection refused", "s1": None, "s2": "no answer within 0.1 s"}


def test_writes_are_numbered_in_url_and_body_and_carry_the_given_headers(box: FakeHost, web: Web) -> None:
    found = records(box, {"kind": "http", "method": "POST", "url": url(web, "/keys/k{n}"), "body": '{"value": "{n}"}',
                          "headers": {"Authorization": f"Bearer {TOKEN}"}, "status": [201], "first": 4000, "rate": 10})
    assert sorted(a["n"] for a in found) == list(range(4000, 4000 + len(found)))
    assert sorted(web.asked) == [("POST", f"/keys/k{a['n']}", f'{{"value": "{a["n"]}"}}', f"Bearer {TOKEN}")
                                 for a in sorted(found, key=lambda a: a["n"])]
    assert not any("why" in a for a in found)


def test_tls_is_verified_and_its_settings_are_made_once(box: FakeHost, web: Web) -> None:
    certificate, key = pair("server")
    box.put("/ca.crt", certificate)
    box.put("/key", key, 0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(box.path("/ca.crt"), box.path("/key"))
    web.socket = context.wrap_socket(web.socket, server_side=True)
    place = f"https://127.0.0.1:{web.server_address[1]}/"
    good = {"kind": "http", "url": place, "ca": "/ca.crt", "server_name": "api.test", "rate": 5}
    found = records(box, good, {**good, "server_name": "other.test"}, {**good, "ca": ""},
                    {"kind": "tls", "address": "127.0.0.1", "port": web.server_address[1], "ca": "/ca.crt",
                     "server_name": "api.test", "rate": 5}, duration=0.1)
    why = {a["s"]: a.get("why", "") for a in found}
    assert (why["s0"], why["s3"]) == ("", "")
    assert why["s1"].startswith("TLS: ") and "other.test" in why["s1"]
    assert why["s2"] == "TLS: self-signed certificate"


def test_a_stream_tells_its_lines_and_how_each_end_was(box: FakeHost, web: Web) -> None:
    for kind in ("closed", "cut"):
        found = records_until(box, lambda found: sum("line" not in a for a in found) > 2,
                              {"kind": "stream", "url": url(web, f"/lines/{kind}"), "rate": 1})
        openings = [a for a in found if "line" not in a]
        assert "end" not in openings[0]
        assert all(a["end"] == kind and "why" not in a for a in openings[1:]), "opened again in time: no failure"
        assert sum("line" in a for a in found) >= 2 * (len(openings) - 1)


def test_a_stream_that_cannot_be_opened_fails_once_a_timeout(box: FakeHost) -> None:
    lines = lines_of(box, {"kind": "stream", "url": "http://127.0.0.1:1/", "rate": 1, "timeout": 0.3}, duration=1.2)
    found = [a for line in lines for a in line["attempts"]]
    assert [a["why"] for a in found] == ["connection refused"] * len(found)
    assert 1 <= len(found) <= lines[-1]["until"] / 0.3


def test_the_end_of_stdin_ends_it_with_what_was_under_way(box: FakeHost, web: Web) -> None:
    with started(box, {"kind": "http", "url": url(web, "/slow"), "rate": 5}) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        process.stdin.close()
        last = [json.loads(line) for line in process.stdout][-1]
        assert process.wait(10) == 0
    assert last["end"] == "asked"
    assert len(web.asked) == len({a["at"] for a in last["attempts"]}) or last["attempts"]


@pytest.mark.parametrize("gone", ["silent", "closed"])
def test_it_ends_by_itself_when_nobody_listens(box: FakeHost, gone: str) -> None:
    with started(box, {"kind": "tcp", "address": "127.0.0.1", "port": 1, "rate": 5}, patience=1.0) as process:
        assert process.stdout is not None
        if gone == "closed":
            process.stdout.close()
        process.wait(60)


def test_what_was_under_way_while_the_host_stood_still_is_nobodys_failure(box: FakeHost, web: Web) -> None:
    with started(box, {"kind": "http", "url": url(web, "/slow"), "rate": 5, "timeout": 2}, duration=4) as process:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline())]
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(process.pid, signal.SIGCONT)
        seen += [json.loads(line) for line in process.stdout]
    assert 1.0 < sum(line.get("blind", 0.0) for line in seen) < seen[-1]["until"]
    found = [a for line in seen for a in line["attempts"]]
    assert any(a.get("blind") for a in found)
    assert [a for a in found if "why" in a and not a.get("blind")] == []


def test_an_unknown_kind_and_a_missing_ca_are_refused_at_once(box: FakeHost) -> None:
    for series in ({"kind": "magic"}, {"kind": "tls", "address": "127.0.0.1", "port": 1, "ca": "/no", "rate": 1}):
        done = box.run("sample", package.frame({"series": [{"name": "x", **series}]}))
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"applier: ")
