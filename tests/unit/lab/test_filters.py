"""What the lab's bridge drops: the commands for nft, and reading them back."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.lab import filters
from provisioner.lab.filters import Drop

LINKS = {"cp1": "vb-lab.cp1", "cp2": "vb-lab.cp2"}


def added(drop: Drop) -> list[tuple[str, str]]:
    """Return chain and match of each rule; the rest of a rule is the same in all."""
    return [(rule.split()[4], rule.split(" ", 5)[5].partition("drop comment")[0].strip())
            for rule in filters.rules(drop, LINKS)]


def test_a_node_that_loses_everything_loses_it_in_both_directions() -> None:
    assert added(Drop("cp1")) == [("enter", 'iifname "vb-lab.cp1"'), ("leave", 'oifname "vb-lab.cp1"')]


def test_a_port_is_dropped_whichever_end_has_it() -> None:
    assert added(Drop("cp1", port=2380)) == [
        ("enter", 'iifname "vb-lab.cp1" meta l4proto { tcp, udp } th dport 2380'),
        ("enter", 'iifname "vb-lab.cp1" meta l4proto { tcp, udp } th sport 2380'),
        ("leave", 'oifname "vb-lab.cp1" meta l4proto { tcp, udp } th dport 2380'),
        ("leave", 'oifname "vb-lab.cp1" meta l4proto { tcp, udp } th sport 2380')]


def test_a_peer_is_lost_in_both_directions_and_nobody_else() -> None:
    assert added(Drop("cp1", peer="cp2")) == [("pass", 'iifname "vb-lab.cp1" oifname "vb-lab.cp2"'),
                                              ("pass", 'iifname "vb-lab.cp2" oifname "vb-lab.cp1"')]


@pytest.mark.parametrize("drop", [Drop("cp1"), Drop("cp1", 2380), Drop("cp1", None, "cp2"), Drop("cp1", 6443, "cp2")])
def test_what_nft_lists_is_read_back_as_what_was_dropped(drop: Drop) -> None:
    comment = filters.rules(drop, LINKS)[0].rpartition("comment ")[2].strip('"')
    listing: dict[str, Any] = {"nftables": [
        {"metainfo": {"version": "1.0.6"}}, {"table": {"family": "bridge", "name": "kubewright_faults", "handle": 1}},
        {"chain": {"family": "bridge", "name": "enter", "handle": 1}},
        {"rule": {"family": "bridge", "chain": "enter", "handle": 4, "comment": comment, "expr": [{"drop": None}]}}]}
    assert list(filters.parse(listing)) == [(drop, "enter handle 4")]


def test_a_drop_is_told_in_words() -> None:
    assert [str(Drop("cp1")), str(Drop("cp1", 2380)), str(Drop("cp1", 2380, "cp2"))] == [
        "everything", "port 2380", "port 2380 to and from cp2"]
