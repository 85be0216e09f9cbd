"""What certainly does not come in, read from what nft says of a machine's chains."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.applier import firewall, network
from tests.unit.applier.support import FakeHost

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases" / "input_drops.yaml").read_text())
UFW = Path(__file__).parents[2] / "cases" / "ufw"         # what nft 1.0.6 said of ufw 0.36.2 on Debian 12
PACKETS = [["112", 0], ["tcp", 2380], ["tcp", 6443], ["udp", 8472]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_only_what_no_rule_can_let_in_is_told(
        box: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: dict[str, Any]) -> None:
    an_nft(tmp_path, monkeypatch, case["table"])
    assert firewall.shut_out(box.host, PACKETS, ["10.77.0.0/24"]) == case["shut"]

    dropping = [network.named(entry["chain"]) for entry in case["table"] if "chain" in entry]
    assert firewall.input_drops(box.host) == case.get("drops", dropping)


def an_nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Sequence[dict[str, Any]], text: str = "") -> None:
    """Put an nft first that knows this one table."""
    chains = json.dumps({"nftables": [entry for entry in said if "chain" in entry]})
    table = json.dumps({"nftables": said})
    nft = tmp_path / "nft" / "nft"
    nft.parent.mkdir()
    nft.write_text(f"#!/bin/sh\ncase $1$3 in -jchains) cat <<'E'\n{chains}\nE\n;; -jtable) cat <<'E'\n{table}\nE\n"
                   f";; -atable) cat <<'E'\n{text}\nE\n;; esac\n")
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", f"{nft.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize(("seen", "shut"), [
    ("ssh", PACKETS), ("hosts", []), ("limit", [p for p in PACKETS if p != ["tcp", 6443]])])
def test_of_ufw_only_what_its_input_chain_leads_to_counts(
        box: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: str, shut: list[list[Any]]) -> None:
    """It has chains that accept all, for what goes out, and writes the state of a connection as iptables does.

    `ssh`: 22/tcp alone is allowed; `hosts`: all from 10.77.0.0/24 too; `limit`: the API instead, some times a minute.
    """
    said = json.loads((UFW / f"{seen}.json").read_text())["nftables"]
    an_nft(tmp_path, monkeypatch, said, (UFW / f"{seen}.txt").read_text())
    assert firewall.shut_out(box.host, PACKETS, ["10.77.0.0/24"]) == ({"ip filter INPUT": shut} if shut else {})


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
