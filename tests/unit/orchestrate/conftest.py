"""A world for every test: five empty hosts in memory, and the same after a first `up`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.session import World, instant


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World.make(tmp_path, monkeypatch)


@pytest.fixture
def built(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return the world after a first `up`, its logs emptied."""
    instant(monkeypatch)
    return world.build(monkeypatch)
