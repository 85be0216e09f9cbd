"""`serve` on hosts in memory: what its page is given is all that it shows, a look that fails hides nothing, it ends."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from provisioner.cli import serve
from provisioner.cli.context import Context
from provisioner.cli.serve import Looker
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, drift, run, world  # noqa: F401 - fixtures
from tests.unit.report.stories import small

SCRIPT = Path(__file__).resolve().parents[3] / "provisioner" / "report" / "live.js"


def looked(world: World) -> Looker:  # noqa: F811 - a fixture's name
    looker = Looker(Context(directory=str(world.inventory.path)), every=0.0)
    looker.look()
    return looker


def test_the_page_is_given_each_thing_that_its_script_asks_for(built: World) -> None:  # noqa: F811 - a fixture
    drift(built)
    place = built.inventory.runs_dir / "20261129-100052-2c53"
    place.mkdir(parents=True)
    (place / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in small()), encoding="utf-8")
    state = looked(built).state()
    text = SCRIPT.read_text(encoding="utf-8")
    for name, given in {r"state\.": state, r"h\.": state["hosts"][0], r"c\.": state["certificates"][0],
                        r"one\.(?!append)": state["findings"][0], r"run\.": state["runs"][0]}.items():
        asked = set(re.findall(rf"\b{name}(\w+)", text))
        assert asked and asked <= set(given), name
    assert json.dumps(state), "it can be sent"


def test_it_shows_how_the_cluster_is_and_what_differs(built: World) -> None:  # noqa: F811 - a fixture
    well = looked(built).state()
    assert (well["healthy"], well["error"], well["differences"]) == (True, "", "")
    assert [f["check"] for f in well["findings"] if f["severity"] != "warning"] == []
    assert [h["host"] for h in well["hosts"]] == list(built.hosts.hosts)
    drift(built)
    ill = looked(built).state()
    assert not ill["healthy"] and "podPidsLimit 5 → 4096" in ill["differences"]
    assert "w1" in [f["host"] for f in ill["findings"] if f["severity"] == "error"]


def test_a_look_that_fails_leaves_what_was_seen_and_says_why(built: World) -> None:  # noqa: F811 - a fixture
    looker = looked(built)
    for host in built.hosts.hosts.values():
        host.down = True
    looker.look()
    state = looker.state()
    assert state["error"].startswith("error: ") and len(state["hosts"]) == 5


def test_it_prints_an_address_of_loopback_with_its_token_and_has_ended_afterwards(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 - fixtures
    lasted: list[float] = []
    monkeypatch.setattr(Looker, "go_on_for", lambda _, seconds: lasted.append(seconds))
    ended = run("serve", "--for", "2m")
    assert lasted == [120.0]
    address = urlsplit(ended.out.strip())
    assert ended.code == 0 and (address.scheme, address.hostname, address.path) == ("http", "127.0.0.1", "/")
    assert len(address.fragment) >= 40
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.port or 0)), timeout=30)


def test_a_port_that_is_taken_is_refused(built: World, run: Run) -> None:  # noqa: F811 - fixtures
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run("serve", "--port", str(taken.getsockname()[1]))
    assert ended.code == 64 and "Address already in use" in ended.err


def test_hosts_are_only_looked_at_while_somebody_asks(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 - a fixture
    looker, looks = Looker(Context(directory=str(built.inventory.path)), every=0.0), []
    monkeypatch.setattr(looker, "look", lambda: looks.append(1))

    def goes_on() -> None:
        clock = iter([0.0, 0.0, 0.0, 0.1, 0.2])     # it begins, sees that it was asked, has looked, is asked no more
        monkeypatch.setattr(serve, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
        looker.go_on_for(0.2)

    goes_on()
    assert len(looks) == 1, "at the beginning, and never again by itself"
    looker.state()
    goes_on()
    assert len(looks) == 2, "what was asked meanwhile is one look"
