"""A catalogue of one small component that the fake workshop builds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.artifacts import catalogue as catalogue_module
from provisioner.artifacts import go
from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import Catalogue
from tests.fakes.workshop import Workshop, executable


@pytest.fixture
def elf() -> Callable[..., bytes]:
    return executable


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    module = tmp_path / "source" / "modules" / "tool" / "1.0.0"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module tool\n")
    (module / "go.sum").write_text("")
    monkeypatch.setattr(catalogue_module, "HERE", tmp_path / "source")
    entry = {"name": "tool", "default": "1.0.0", "versions": ["1.0.0"],
             "go": {"modules": ["example.org/tool"], "binaries": {"tool": "example.org/tool"}}}
    made = Workshop(Catalogue.model_validate({"toolchain": "go1.26.8", "components": {"tool": entry}}),
                    Cache(tmp_path / "cache"))
    monkeypatch.setattr(go, "build", made.build)
    return made
