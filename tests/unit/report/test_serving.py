"""What `serve` gives to whom: the page to everybody here, what is in the cluster to who has the token, nothing else."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from provisioner.report.html import report_html
from provisioner.report.live import live_page
from provisioner.report.serving import Site, listener, serving
from tests.unit.report.stories import recorded

RUN = "20261129-100052-2c53"


class Served:
    """A site that is served, and who asks it."""

    def __init__(self, address: str) -> None:
        split = urlsplit(address)
        self.port, self.token = int(split.port or 0), split.fragment
        self.address = split

    def ask(self, path: str, token: str | None = None, method: str = "GET", host: str = "") -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{self.port}")
        if token is not None:
            connection.putheader("Authorization", f"Bearer {token}")
        connection.endheaders()
        return connection.getresponse()


@pytest.fixture
def served() -> Iterator[Served]:
    site = Site(lambda: {"cluster": "lab"}, {RUN: "<p>a report</p>"}.get)
    with serving(site, listener(0)) as address:
        yield Served(address)


def test_the_page_alone_needs_no_token_and_says_nothing_of_the_cluster(served: Served) -> None:
    answer = served.ask("/")
    page = answer.read().decode()
    assert answer.status == 200 and page == live_page()[0]
    assert served.token not in page and len(served.token) >= 40


@pytest.mark.parametrize("path", ["/state", f"/runs/{RUN}", "/runs/20261129-100052-0000"])
def test_all_else_is_refused_without_the_token_also_whether_it_is_there(served: Served, path: str) -> None:
    for token in (None, "", served.token[:-1], served.token.swapcase()):
        answer = served.ask(path, token)
        assert (answer.status, answer.read()) == (403, b"this needs the token that `kubewright serve` has printed\n")


def test_with_the_token_it_is_given(served: Served) -> None:
    assert served.ask("/state", served.token).read() == b'{"cluster": "lab"}'
    assert served.ask(f"/runs/{RUN}", served.token).read() == b"<p>a report</p>"
    assert served.ask("/runs/20261129-100052-0000", served.token).status == 404


@pytest.mark.parametrize("path", ["/index.html", "/state/", "/state?x", "/runs", f"/runs/{RUN}/events.jsonl",
                                  "/runs/../state", "/runs/..%2f..%2fcluster.yaml", "/etc/passwd", "/%2e%2e/secrets",
                                  "*"])
def test_nothing_is_served_but_what_is_listed(served: Served, path: str) -> None:
    assert served.ask(path, served.token).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_nothing_can_be_done_but_reading(served: Served, method: str) -> None:
    assert served.ask("/state", served.token, method).status == 501


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "10.0.0.1:8000"])
def test_a_name_of_somebody_else_that_leads_here_gets_nothing(served: Served, host: str) -> None:
    for path in ("/", "/state"):
        assert served.ask(path, served.token, host=host).status == 421


def test_it_listens_on_loopback_alone_and_has_ended_afterwards() -> None:
    at = listener(0)
    assert at.getsockname()[0] == "127.0.0.1"
    with serving(Site(dict, lambda _: None), at) as address:
        port = Served(address).port
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=30).connect()


def test_each_call_has_a_token_of_its_own() -> None:
    assert len({Site(dict, lambda _: None).token for _ in range(5)}) == 5


def test_the_policy_lets_run_what_stands_in_the_page_and_in_a_report_and_nothing_else(served: Served) -> None:
    answer = served.ask("/")
    policy, page = answer.headers["Content-Security-Policy"], answer.read().decode()

    def allowed(text: str) -> bool:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy

    report = report_html(recorded("rolling-change"))
    styles = re.findall(r"<style>(.*?)</style>", page + report, re.DOTALL)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert (len(styles), len(scripts)) == (3, 1) and all(map(allowed, styles + scripts))
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"""(src|href)=["']?(https?:)?//|innerHTML|insertAdjacent|document\.write|eval\(""", page)
