"""What is made of a host's DNS servers: their answers to names that nobody has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import dns, resolving
from provisioner.applier.host import Fault, Host


def looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conf: str, answers: dict[tuple[str, str], Any],
           ) -> dict[str, Any]:
    """Ask with servers that answer as (server, domain) says: addresses, or what is raised."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text(conf)

    def ask(server: str, name: str, timeout: float) -> list[str]:
        said = answers[server, name.partition(".")[2]]
        if isinstance(said, Exception):
            raise said
        return list(said)

    monkeypatch.setattr(dns, "ask", ask)
    return resolving.look(Host(str(tmp_path)), {})


def test_a_good_server_knows_no_name_that_nobody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = looked(tmp_path, monkeypatch, "nameserver 192.0.2.1\nsearch example.org\n", {
        ("192.0.2.1", "invalid"): Fault("rcode 3"), ("192.0.2.1", "example.org"): Fault("rcode 3")})
    assert [(s["made_up"], s["wild"]) for s in found["servers"]] == [([], {})]


def test_a_server_that_makes_up_answers_and_a_domain_that_has_any_name(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = looked(tmp_path, monkeypatch, "search old.example\nnameserver 192.0.2.1\nsearch a.example b.example.\n", {
        ("192.0.2.1", "invalid"): ["192.0.2.80"], ("192.0.2.1", "a.example"): ["192.0.2.81"],
        ("192.0.2.1", "b.example"): []})
    assert [(s["made_up"], s["wild"]) for s in found["servers"]] == [(["192.0.2.80"], {"a.example": ["192.0.2.81"]})]


def test_a_server_that_does_not_answer_is_told_with_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = looked(tmp_path, monkeypatch, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n", {
        ("192.0.2.1", "invalid"): TimeoutError("timed out"), ("192.0.2.2", "invalid"): []})
    dead, good = found["servers"]
    assert dead == {"server": "192.0.2.1", "why": "timed out"}
    assert good["seconds"] < 1.0


def test_dead_search_domains_do_not_cost_the_servers_their_answers(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float]] = []

    def ask(server: str, name: str, timeout: float) -> list[str]:
        asked.append((name.partition(".")[2], timeout))
        if name.endswith(".example"):
            raise TimeoutError("timed out")
        return []

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 192.0.2.1\nsearch " + " ".join(
        f"{letter}.example" for letter in "abcdefgh"))
    monkeypatch.setattr(dns, "ask", ask)
    (told,) = resolving.look(Host(str(tmp_path)), {})["servers"]
    assert told["wild"] == {} and "why" not in told
    assert asked == [("invalid", 5.0), *((f"{letter}.example", 1.0) for letter in "abcdef")]


def test_a_domain_that_is_not_in_ascii_costs_nothing_but_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                ) -> None:
    with pytest.raises(ValueError, match="ascii"):
        dns.ask("127.0.0.1", "b\xfccher.example", 1.0)
    found = looked(tmp_path, monkeypatch, "nameserver 192.0.2.1\nsearch b\xfccher.example b.example\n", {
        ("192.0.2.1", "invalid"): [], ("192.0.2.1", "b\xfccher.example"): UnicodeEncodeError("ascii", "x", 0, 1, "no"),
        ("192.0.2.1", "b.example"): ["192.0.2.81"]})
    assert found["servers"][0]["wild"] == {"b.example": ["192.0.2.81"]}


def test_behind_a_stub_stand_the_servers_that_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run/systemd/resolve").mkdir(parents=True)
    (tmp_path / "run/systemd/resolve/resolv.conf").write_text("nameserver 10.96.0.10\n")
    found = looked(tmp_path, monkeypatch, "nameserver 127.0.0.53\n", {("127.0.0.53", "invalid"): []})
    assert found["behind"] == ["10.96.0.10"]


def test_without_servers_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked(tmp_path, monkeypatch, "# nothing\n", {}) == {"servers": [], "behind": []}
