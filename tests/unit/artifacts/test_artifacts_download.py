"""Mirrors that are slow, broken or lie are retried or refused by name; only published bytes ever get a final path."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from email.message import Message
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request

import pytest

from provisioner.artifacts import download as downloading
from provisioner.artifacts import web
from provisioner.artifacts.download import MIRRORS, Patience, Published, download, places
from provisioner.errors import KubewrightError, PreflightRefused, RefusedForSafety
from tests.fakes.publishers import Publisher, publisher
from tests.fakes.workshop import executable

URL = "https://dl.example.org/v1/tool"
DATA = executable(body=b"code" * 1000)
DIGEST = hashlib.sha256(DATA).hexdigest()
QUICK = Patience(answer=0.5, tries=3, pause=0.0, least=1_000_000.0, after=0.2)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (MIRRORS, "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mirror() -> Iterator[Publisher]:
    with publisher() as made:
        made.publish(URL, DATA)
        yield made


@pytest.fixture
def other() -> Iterator[Publisher]:
    with publisher() as made:
        made.publish(URL, DATA)
        yield made


def brought(tmp_path: Path, *mirrors: str, heard: list[str] | None = None) -> Path:
    return download(Published(URL, DIGEST), tmp_path / "partial", (heard if heard is not None else []).append,
                    patience=QUICK, setting=",".join(mirrors))


@pytest.mark.parametrize(("setting", "asked"), [
    ("", [URL]),
    ("direct", [URL]),
    ("https://m.example/files/,direct", ["https://m.example/files/dl.example.org/v1/tool", URL]),
    ("https://a.example https://b.example", ["https://a.example/dl.example.org/v1/tool",
                                             "https://b.example/dl.example.org/v1/tool"]),
    ("https://a.example,off,direct", ["https://a.example/dl.example.org/v1/tool"]),
    ("off", []),
])
def test_mirrors_are_asked_in_order_and_the_publisher_where_it_is_named(setting: str, asked: list[str]) -> None:
    assert places(URL, setting) == asked


def test_what_is_published_comes_whole(tmp_path: Path, mirror: Publisher) -> None:
    assert brought(tmp_path, mirror.url).read_bytes() == DATA


@pytest.mark.parametrize("fault", ["503", "429", "cut", "silent"])
def test_what_may_pass_is_asked_for_again_at_the_same_place(tmp_path: Path, mirror: Publisher, fault: str) -> None:
    mirror.faults = [fault, ""]
    heard: list[str] = []
    assert brought(tmp_path, mirror.url, heard=heard).read_bytes() == DATA
    assert len(mirror.asked) == 2
    assert [line for line in heard if line.endswith("asked again")]


def test_what_was_cut_goes_on_where_it_ended(tmp_path: Path, mirror: Publisher) -> None:
    mirror.faults = ["cut", ""]
    brought(tmp_path, mirror.url)
    assert [wanted for _, wanted in mirror.asked] == ["", f"bytes={len(DATA) // 2}-"]


def test_what_a_killed_run_left_is_gone_on_with(tmp_path: Path, mirror: Publisher) -> None:
    (tmp_path / "partial").write_bytes(DATA[:1000])
    assert brought(tmp_path, mirror.url).read_bytes() == DATA
    assert mirror.asked == [("/dl.example.org/v1/tool", "bytes=1000-")]


def test_a_mirror_that_cannot_begin_in_the_middle_gives_the_whole(tmp_path: Path, mirror: Publisher) -> None:
    (tmp_path / "partial").write_bytes(DATA[:1000])
    mirror.faults = ["from the start"]
    assert brought(tmp_path, mirror.url).read_bytes() == DATA


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(DATA), DATA + b"x"])
def test_a_beginning_that_is_another_files_is_thrown_away_once(tmp_path: Path, mirror: Publisher, left: bytes) -> None:
    (tmp_path / "partial").write_bytes(left)
    assert brought(tmp_path, mirror.url).read_bytes() == DATA
    assert mirror.asked[-1] == ("/dl.example.org/v1/tool", "")


@pytest.mark.parametrize(("fault", "saw"), [
    ("flipped", f"gave other bytes: {len(DATA)} bytes, sha256 "),
    ("page", "gave other bytes: a page, 47 bytes, sha256 "),
    ("arm64", "gave other bytes: a program for arm64, "),
])
def test_a_mirror_that_lies_is_named_and_leaves_nothing(
        tmp_path: Path, mirror: Publisher, fault: str, saw: str) -> None:
    mirror.faults = [fault]
    with pytest.raises(RefusedForSafety) as refusal:
        brought(tmp_path, mirror.url)
    assert refusal.value.code == "download-lies"
    assert refusal.value.details[0].startswith(f"{mirror.url}/dl.example.org/v1/tool: {saw}")
    assert f"published: sha256 {DIGEST}" in refusal.value.details
    assert not (tmp_path / "partial").exists()
    assert len(mirror.asked) == 1


@pytest.mark.parametrize(("fault", "saw", "times"), [
    ("404", "answered 404", 1),
    ("403", "answered 403", 1),
    ("html", "gave a page (text/html), not the file", 1),
    ("round", "answered 302, redirections without an end", 1),
    ("503", "answered 503", 3),
    ("silent", "timed out", 3),
])
def test_a_broken_mirror_is_named_with_what_it_answered(
        tmp_path: Path, mirror: Publisher, fault: str, saw: str, times: int) -> None:
    mirror.faults = [fault]
    with pytest.raises(PreflightRefused) as refusal:
        brought(tmp_path, mirror.url)
    assert refusal.value.code == "download"
    assert refusal.value.details[0] == f"{mirror.url}/dl.example.org/v1/tool: {saw}"
    if fault != "round":
        assert len(mirror.asked) == times


@pytest.mark.parametrize("fault", ["404", "503", "html", "page", "flipped", "arm64", "round", "silent", "slow"])
def test_the_next_one_is_asked_whatever_the_first_did(
        tmp_path: Path, mirror: Publisher, other: Publisher, fault: str) -> None:
    mirror.faults = [fault]
    assert brought(tmp_path, mirror.url, other.url).read_bytes() == DATA


def test_what_a_cut_mirror_gave_is_not_fetched_twice(tmp_path: Path, mirror: Publisher, other: Publisher) -> None:
    mirror.faults = ["cut", "404"]
    assert brought(tmp_path, mirror.url, other.url).read_bytes() == DATA
    assert other.asked == [("/dl.example.org/v1/tool", f"bytes={len(DATA) // 2}-")]


def test_a_slow_place_is_borne_with_where_it_is_the_last(tmp_path: Path, mirror: Publisher) -> None:
    mirror.faults = ["slow"]
    assert brought(tmp_path, mirror.url).read_bytes() == DATA
    assert len(mirror.asked) == 1


def test_a_redirection_is_followed(tmp_path: Path, mirror: Publisher) -> None:
    mirror.faults = ["elsewhere", ""]
    assert brought(tmp_path, mirror.url).read_bytes() == DATA


def test_a_place_that_gives_without_an_end_fills_no_disk(
        tmp_path: Path, mirror: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "_AT_MOST", 1000)
    with pytest.raises(PreflightRefused):
        brought(tmp_path, mirror.url)
    assert (tmp_path / "partial").stat().st_size == 0


def test_nobody_who_answers_is_named_each(tmp_path: Path, mirror: Publisher) -> None:
    mirror.faults = ["404"]
    with pytest.raises(PreflightRefused) as refusal:
        brought(tmp_path, "http://127.0.0.1:9", mirror.url)
    assert [line.split(": ", 1)[1] for line in refusal.value.details[:2]] == ["Connection refused", "answered 404"]


@pytest.mark.parametrize(("asked", "realm"), [
    ("http://127.0.0.1/v2/tool", "file://{file}#"), ("https://r.example.org/v2/tool", "file://{file}#"),
    ("https://r.example.org/v2/tool", "http://127.0.0.1/token"),
])
def test_no_file_of_this_machine_is_told_to_a_registry_as_its_token(tmp_path: Path, asked: str, realm: str) -> None:
    secret = tmp_path / "token.json"
    secret.write_text('{"token": "of somebody"}')
    headers = Message()
    headers["WWW-Authenticate"] = f'Bearer realm="{realm.format(file=secret)}",service="x"'
    with pytest.raises(ValueError, match="which is no https address"):
        web.token(HTTPError(asked, 401, "", headers, BytesIO()), 1.0)


def test_the_token_of_a_registry_is_fetched_and_not_told_to_where_it_leads_on(
        tmp_path: Path, mirror: Publisher) -> None:
    mirror.faults = ["token", "elsewhere", ""]
    assert brought(tmp_path, mirror.url).read_bytes() == DATA
    assert mirror.told_to == ["", "Bearer for anybody", ""]


def test_a_password_in_an_address_is_shown_to_nobody(tmp_path: Path) -> None:
    with pytest.raises(KubewrightError) as refusal:
        brought(tmp_path, "http://me:secret@127.0.0.1:9")
    assert "secret" not in "\n".join([refusal.value.message, *refusal.value.details, refusal.value.hint])


def test_where_nobody_may_be_asked_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(PreflightRefused, match="download tool: nobody gives it") as refusal:
        brought(tmp_path, "off")
    assert refusal.value.details[0] == "KUBEWRIGHT_MIRRORS names nobody to ask"


def test_from_https_nobody_is_led_on_to_http() -> None:
    with pytest.raises(ValueError, match="which is not https"):
        web.Careful().redirect_request(Request("https://dl.example.org/x"), BytesIO(), 302, "", Message(),
                                       "http://dl.example.org/x")
