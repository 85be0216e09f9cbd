"""Whose key opens the secrets: proved before the first change, and given where it is not the key one logs in with."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from provisioner.cli.context import Context
from provisioner.cli.main import main
from provisioner.errors import KubewrightError
from provisioner.model.inventory import Inventory
from provisioner.orchestrate.session.session import open_store
from tests.fakes.session import World, operator_key, write_inventory
from tests.unit.cli.test_cluster_verbs import Run, built, run, world

__all__ = ["built", "run", "world"]


@pytest.fixture
def stranger(world: World) -> World:
    """Let the key that we log in with be nobody's among the operators."""
    operator_key(world.key)
    return world


@pytest.mark.parametrize("words", [("up", "--yes"), ("check",)], ids=" ".join)
def test_a_first_up_that_could_not_open_its_own_secrets_changes_nothing(
        stranger: World, run: Run, words: tuple[str, ...]) -> None:
    ended = run(*words)
    assert ended.code == 10
    assert "none of your keys opens what would be encrypted to them" in ended.err
    assert f"{stranger.key}: not the key of one of the `operators:`" in ended.err and "--identity FILE" in ended.err
    assert (stranger.hosts.log, [h.record for h in stranger.hosts.hosts.values()]) == ([], [{}] * 5)
    assert not stranger.inventory.secrets_dir.exists()


@pytest.mark.parametrize("by", ["option", "behind", "environment"])
def test_an_operator_s_key_is_given_by_option_or_environment(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KUBEWRIGHT_IDENTITY", str(tmp_path / "operator") if by == "environment" else "")
    world = World.make(tmp_path, monkeypatch)
    write_inventory(tmp_path, operator_key(tmp_path / "operator"), key=world.key)
    with pytest.raises(KubewrightError, match="none of your keys opens"):
        open_store(Inventory.open(tmp_path)).prove()
    seen: list[Context] = []
    monkeypatch.setattr(Context, "enter_lab", lambda context: seen.append(context) or stop())
    given = ["--identity", str(tmp_path / "operator")]
    words = {"option": [*given, "plan"], "behind": ["plan", *given], "environment": ["plan"]}[by]
    assert main(["-i", str(tmp_path), *words]) == 1
    open_store(seen[0].inventory).prove()
    assert ("--identity" in seen[0].command("up")) == (by != "environment")


def stop() -> None:
    raise KubewrightError("far enough")


def test_a_store_that_is_there_is_opened_by_the_key_that_was_given(built: World) -> None:
    from dataclasses import replace

    (built.inventory.path / "mine").write_bytes(built.key.read_bytes())
    operator_key(built.key)
    with pytest.raises(KubewrightError, match="none of your keys opens it"):
        open_store(built.inventory).resolve("sa.key")
    assert open_store(replace(built.inventory, identity=built.inventory.path / "mine")).resolve("sa.key")
