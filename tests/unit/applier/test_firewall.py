"""What certainly does not come in, read from what nft says of a machine's chains."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.applier import firewall
from tests.unit.applier.support import FakeHost

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases" / "input_drops.yaml").read_text())
PACKETS = [["112", 0], ["tcp", 2380], ["tcp", 6443], ["udp", 8472]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_only_what_no_rule_can_let_in_is_told(
        box: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: dict[str, Any]) -> None:
    chains = json.dumps({"nftables": [entry for entry in case["table"] if "chain" in entry]})
    table = json.dumps({"nftables": case["table"]})
    nft = tmp_path / "nft" / "nft"
    nft.parent.mkdir()
    nft.write_text(f"#!/bin/sh\ncase $3 in chains) cat <<'E'\n{chains}\nE\n;; *) cat <<'E'\n{table}\nE\n;; esac\n")
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", f"{nft.parent}:{os.environ['PATH']}")
    assert firewall.shut_out(box.host, PACKETS, ["10.77.0.0/24"]) == case["shut"]


def test_where_nobody_can_be_asked_nothing_is_told(
        box: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert firewall.shut_out(box.host, PACKETS, ["10.77.0.0/24"]) == {}
