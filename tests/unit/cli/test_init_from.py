"""`init` from other tools' inventories and from machines that look foreign: what is written, left out, and refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.cli.main import main
from provisioner.errors import UsageFault
from provisioner.model.imported import kubespray
from provisioner.model.inventory import Inventory
from tests.unit.cli.test_init import home

__all__ = ["home"]

CASES = Path(__file__).parents[2] / "cases" / "first_contact"
FILES = ("kubespray-hosts.yaml", "kubespray-inventory.ini", "k0sctl.yaml", "named.words")


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((CASES / name).read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("home")
def test_what_is_written_and_what_is_said_of_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Rendered files beside the cases; UPDATE_GOLDEN=1 writes them anew."""
    words = (CASES / name).read_text(encoding="utf-8").split() if name.endswith(".words") else ["--from", name]
    shutil.copy(CASES / name, name)
    assert main(["init", *words, "--kubernetes", "1.36.3"]) == 0
    said = capsys.readouterr().out
    [file] = Path("inventories").glob("*/cluster.yaml")
    assert Inventory.open(file.parent).cluster.machines
    for kind, text in (("cluster.yaml", file.read_text(encoding="utf-8")), ("said", said)):
        golden = CASES / "expected" / f"{name}.{kind}"
        if "UPDATE_GOLDEN" in os.environ:
            golden.parent.mkdir(exist_ok=True)
            golden.write_text(text, encoding="utf-8")
        assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", cases("refused.yaml"), ids=lambda case: " ".join(case["words"]))
def test_what_cannot_be_is_told_and_nothing_is_written(
        home: Path, case: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    if "file" in case:
        Path("k0sctl.yaml").write_text(case["file"], encoding="utf-8")
    assert main(["init", *case["words"]]) == case.get("code", 64)
    assert case["says"] in capsys.readouterr().err
    assert not (home / "inventories").exists()


@pytest.mark.parametrize("case", cases("listings.yaml"), ids=lambda case: case["says"])
def test_what_is_no_inventory_of_kubespray_is_told(case: dict[str, Any]) -> None:
    with pytest.raises(UsageFault) as caught:
        kubespray.read("hosts.yaml", case["listing"])
    assert caught.value.message == f"--from hosts.yaml: {case['says']}"


def test_a_script_is_not_run_as_an_inventory(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = home / "inventory"
    script.write_text(f"#!/bin/sh\ntouch {home}/ran\necho '{{}}'\n")
    script.chmod(0o755)
    assert main(["init", "--from", "inventory"]) == 64
    assert "--from inventory: it is no inventory that Ansible reads" in capsys.readouterr().err
    assert not (home / "ran").exists() and not (home / "inventories").exists()
