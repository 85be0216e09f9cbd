"""What certainly does not come in, read from what nft says of a machine's chains."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.applier import firewall, network
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

    dropping = [network.named(entry["chain"]) for entry in case["table"] if "chain" in entry]
    assert firewall.input_drops(box.host) == case.get("drops", dropping)


@pytest.mark.parametrize(("said", "drops"), [
    ("-P INPUT DROP\n-A INPUT -j ufw-before-input\n-A INPUT -j ufw-track-input\n", ["ip filter INPUT"]),
    ("-P INPUT ACCEPT\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j REJECT --reject-with tcp-reset\n",
     ["ip filter INPUT"]),
    ("-P INPUT ACCEPT\n-A INPUT -s 192.0.2.0/24 -j DROP\n", []),
    ("-P INPUT ACCEPT\n", []),
])
def test_a_host_without_nft_is_asked_by_iptables(
        box: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, drops: list[str]) -> None:
    tool = tmp_path / "only" / "iptables"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n[ \"$*\" = '-S INPUT' ] && printf '%s' '{said}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    assert firewall.input_drops(box.host) == drops


def test_where_nobody_can_be_asked_nothing_is_told(
        box: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert firewall.shut_out(box.host, PACKETS, ["10.77.0.0/24"]) == {}
    assert firewall.input_drops(box.host) == []
