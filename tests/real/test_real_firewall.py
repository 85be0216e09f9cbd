"""The program that opens a firewall, as it is rendered, against real tables of nft in a network namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.applier import leavings
from provisioner.applier.host import Host, NoProgram
from provisioner.compile import firewall
from provisioner.model.desired import File
from tests.real.cable import connected, inside
from tests.unit.compile.compile_fixture import compiled, inventory

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nft"))), reason="namespaces are root's")
ADDRESS, PEER = "10.77.0.11", "10.77.0.12"
PEER_PORT = 2380
# What Debian's sample of /etc/nftables.conf, a host with a last word of its own, and one with both have.
POLICY = """
flush ruleset
table inet filter {
    chain input { type filter hook input priority 0; policy drop;
        ct state established,related accept
        tcp dport 22 accept
    }
    chain forward { type filter hook forward priority 0; policy drop; }
    chain output { type filter hook output priority 0; policy accept; }
}
"""
LAST_WORD = """
flush ruleset
table ip guard {
    chain in { type filter hook input priority -10; policy accept;
        tcp dport 22 accept
        counter reject
    }
}
table ip other {
    chain in { type filter hook input priority 10; policy accept;
        tcp dport 9 drop
    }
}
"""


class Firewalled:
    """Two namespaces with a cable: `host` has the firewall, `peer` is another host of the cluster."""

    def __init__(self, host: str, peer: str, directory: Path) -> None:
        self.host, self.peer = host, peer
        item = compiled(inventory(firewall="ours")).hosts["cp1"].find("file", firewall.PROGRAM)
        assert isinstance(item, File)
        self.program = directory / "open-firewall"
        self.program.write_text(item.content)

    def load(self, rules: str) -> None:
        inside(self.host, "nft", "-f", "-", given=rules)

    def ruleset(self) -> str:
        return inside(self.host, "nft", "list", "ruleset")

    def open(self) -> str:
        return inside(self.host, sys.executable, "-IS", str(self.program), "once")

    def reaches(self, port: int, seconds: float = 20.0) -> bool:
        """Say whether the peer gets an answer at a port where nobody listens: a refusal of the kernel is one."""
        ask = (f"import socket,sys\ns = socket.socket()\ns.settimeout({seconds})\n"
               f"sys.exit({{0: 0, 111: 0}}.get(s.connect_ex(('{ADDRESS}', {port})), 1))")
        done = subprocess.run(["ip", "netns", "exec", self.peer, sys.executable, "-c", ask], timeout=30, check=False)
        return done.returncode == 0

    def is_shut(self, port: int) -> bool:
        """Say whether the peer gets no answer at a port for as long as a good cable needs many times over."""
        return not self.reaches(port, 0.5)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Firewalled]:
    with connected("fw", ADDRESS, PEER) as names:
        yield Firewalled(*names, tmp_path)


def test_what_drops_by_default_lets_in_what_the_cluster_sends_and_nothing_else(box: Firewalled) -> None:
    box.load(POLICY)
    assert box.is_shut(PEER_PORT)
    said = box.open()
    assert "inet filter input lets in" in said and "inet filter forward lets in" in said and "output" not in said
    assert box.reaches(PEER_PORT) and box.is_shut(9999)
    assert "ip daddr 10.244.0.0/16 accept" in box.ruleset()


def test_what_is_open_is_left_alone(box: Firewalled) -> None:
    box.load(POLICY)
    box.open()
    before = box.ruleset()
    assert box.open() == "" and box.ruleset() == before


def test_a_firewall_that_was_loaded_anew_is_told_again(box: Firewalled) -> None:
    box.load(POLICY)
    box.open()
    box.load(POLICY)
    assert box.is_shut(PEER_PORT)
    box.open()
    assert box.reaches(PEER_PORT)


def test_a_last_rule_that_drops_is_a_default_too_and_one_that_drops_on_purpose_is_none(box: Firewalled) -> None:
    box.load(LAST_WORD)
    said = box.open()
    assert "ip guard in lets in" in said and "other" not in said
    assert box.ruleset().count("jump kubewright-in") == 1


def test_other_rules_of_ours_take_the_place_of_older_ones(box: Firewalled) -> None:
    box.load(POLICY)
    box.open()
    box.program.write_text(box.program.read_text().replace(f'["tcp", {PEER_PORT}]', '["tcp", 2390]'))
    box.open()
    assert box.reaches(2390) and box.is_shut(PEER_PORT)
    assert box.ruleset().count("jump kubewright-in") == 1


def test_what_is_taken_back_leaves_the_firewall_as_it_was(box: Firewalled) -> None:
    class Inside(Host):
        """The host's own commands, run in the namespace."""

        def run(self, argv, **options):  # type: ignore[no-untyped-def]
            if shutil.which(argv[0]) is None:
                raise NoProgram(f"{argv[0]}: not found on this host")
            return super().run(["ip", "netns", "exec", box.host, *argv], **options)

    box.load(POLICY)
    before = box.ruleset()
    box.open()
    host = Inside("/")
    assert leavings.chains(host, "kubewright-") == "there"
    leavings.remove(host, {"kind": "chains", "path": "kubewright-"})
    assert leavings.chains(host, "kubewright-") == "absent"
    assert box.ruleset() == before
