"""A host that fetches from a mirror: one that is busy, cut or silent is asked again, one that lies is not believed."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import mirror, peers
from provisioner.applier.host import Host
from tests.fakes.publishers import Publisher, publisher
from tests.fakes.registry import self_signed

DATA = os.urandom(1_500_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
PATH = "/opt/kubewright/a/1/a"
ENTRY = {"path": PATH, "sha256": DIGEST, "size": len(DATA), "mode": 0o755}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PAUSE", 0.0)
    monkeypatch.setattr(mirror, "SLACK", 300.0)     # of a test on a busy machine


@pytest.fixture
def server() -> Iterator[Publisher]:
    with publisher() as made:
        made.files[f"/kw/files/{DIGEST}"] = DATA
        yield made


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "root").mkdir()
    return Host(str(tmp_path / "root"))


def fetched(host: Host, url: str, over: threading.Event | None = None, **more: Any) -> bytes | None:
    """Fetch, and return what is there under its name then; nothing may lie beside it."""
    place = Path(host.at(PATH))
    try:
        mirror.fetch(host, ENTRY, {"url": url, **more}, over or threading.Event())
    finally:
        assert not place.parent.exists() or [p.name for p in place.parent.iterdir() if p != place] == []
    return place.read_bytes() if place.exists() else None


@pytest.mark.parametrize("faults", [[""], ["503", "429", ""], ["cut", "cut", ""], ["elsewhere", ""]], ids="-".join)
def test_what_a_mirror_gives_in_the_end_is_stored(host: Host, server: Publisher, faults: list[str]) -> None:
    server.faults = list(faults)
    assert fetched(host, f"{server.url}/kw/") == DATA
    assert Path(host.at(PATH)).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(("fault", "why", "requests"), [
    ("404", "it answered 404", 1),
    ("403", "it answered 403", 1),
    ("503", "it answered 503, 3 times", 3),
    ("cut", "the answer was cut, 3 times", 3),
    ("html", "it has 47 in place of 1500000 bytes", 1),
    ("page", "it has 47 in place of 1500000 bytes", 1),
    ("arm64", "in place of 1500000 bytes", 1),
    ("flipped", "/opt/kubewright/a/1/a: sha256 ", 1),
    ("round", "it answered 302", None),
])
def test_what_a_mirror_does_not_give_is_said_and_leaves_nothing(
        host: Host, server: Publisher, fault: str, why: str, requests: int | None) -> None:
    server.faults = [fault]
    with pytest.raises(peers.Lost) as raised:
        fetched(host, f"{server.url}/kw")
    assert why in str(raised.value)
    assert requests in (None, len(server.asked))
    assert not Path(host.at(PATH)).exists()


def test_silence_and_slowness_come_to_an_end(host: Host, server: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "STALL", 0.3)
    server.faults = ["silent"]
    with pytest.raises(peers.Lost, match="no answer in time, 3 times"):
        fetched(host, f"{server.url}/kw")
    monkeypatch.setattr(mirror, "STALL", 10.0)
    monkeypatch.setattr(mirror, "SLACK", 0.0)
    monkeypatch.setattr(mirror, "RATE", 10_000_000)
    server.faults = ["slow"]
    with pytest.raises(peers.Lost, match="slower than 10 MB/s"):
        fetched(host, f"{server.url}/kw")


@pytest.mark.parametrize(("fault", "said"), [
    ("", ""), ("404", "it answered 404"), ("503", "it answered 503"), ("405", ""), ("silent", "no answer in time")])
def test_a_host_says_whether_a_mirror_has_a_file_for_it_and_brings_none(
        server: Publisher, monkeypatch: pytest.MonkeyPatch, fault: str, said: str) -> None:
    monkeypatch.setattr(mirror, "HEAD", 0.3 if fault == "silent" else 60.0)
    server.faults = [fault]
    assert mirror.reached({"url": f"{server.url}/kw/"}, DIGEST) == said
    assert server.asked == [(f"/kw/files/{DIGEST}", "HEAD")], "once"


def test_a_mirror_that_is_not_there_is_told_at_once() -> None:
    assert mirror.reached({"url": "http://127.0.0.1:1/kw"}, DIGEST) == "Connection refused"


def test_a_server_that_is_not_there_is_asked_three_times(host: Host) -> None:
    with pytest.raises(peers.Lost, match="Connection refused, 3 times"):
        fetched(host, "http://127.0.0.1:1/kw")


def test_a_run_that_ends_ends_what_is_fetched(host: Host, server: Publisher) -> None:
    over = threading.Event()
    over.set()
    with pytest.raises(peers.Lost, match="the run has ended"):
        fetched(host, f"{server.url}/kw", over)


def test_the_inventory_s_proxy_is_asked_and_no_other(
        host: Host, server: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetched(host, f"{server.url}/kw") == DATA
    server.files[f"http://mirror.example.org/kw/files/{DIGEST}"] = DATA     # as a proxy is asked
    assert fetched(host, "http://mirror.example.org/kw", proxy=server.url) == DATA


def test_a_certificate_is_believed_by_the_inventory_s_trust_and_nothing_leads_out_of_tls(
        host: Host, tmp_path: Path) -> None:
    certificate, text = self_signed(tmp_path, "127.0.0.1")
    with publisher(certificate) as server:
        server.files[f"/kw/files/{DIGEST}"] = DATA
        with pytest.raises(peers.Lost, match="its certificate: self-signed certificate"):
            fetched(host, f"{server.url}/kw")
        server.faults = ["plain"]
        with pytest.raises(peers.Lost, match="which is not https"):
            fetched(host, f"{server.url}/kw", trust=text)
        server.faults = []
        assert fetched(host, f"{server.url}/kw", trust=text) == DATA
