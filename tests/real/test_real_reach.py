"""`reach` between two network namespaces with a cable between them, and what may be wrong with such a cable."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from provisioner.applier import package, tries
from tests.real.cable import connected, inside

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nft", "tc"))), reason="namespaces are root's")
A, B = "10.99.7.1", "10.99.7.2"
LISTEN = (("tcp", 2380), ("tcp", 6443), ("udp", 8472), ("vrrp", 0))
TOKEN = "5a" * tries.TOKEN


@dataclass(frozen=True)
class Cable:
    """Two namespaces and the cable between them: `a` tries, `b` listens."""

    a: str
    b: str

    def rule(self, text: str) -> None:
        """Give `b` a firewall that lets in what it is not told to keep out."""
        inside(self.b, "nft", "add table inet fw; add chain inet fw in { type filter hook input priority 0; }; "
               f"add rule inet fw in {text}")


@pytest.fixture
def cable() -> Iterator[Cable]:
    with connected("reach", A, B) as names:
        yield Cable(*names)


@contextlib.contextmanager
def host(cable: Cable, name: str, address: str, word: str = "ours", **request: Any,
         ) -> Iterator[subprocess.Popen[bytes]]:
    """Run the applier there, until what is done here is over; `word` is what it says of each port."""
    argv = ["ip", "netns", "exec", name, sys.executable, *package.argv("reach")[1:]]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin and process.stdout
            asked = {"token": TOKEN, "address": address, "patience": 60, **request}
            process.stdin.write(package.frame(asked))
            process.stdin.flush()
            told = json.loads(process.stdout.readline())["listening"]
            assert {said for _, _, said in told} <= {word}, told
            yield process
        finally:
            process.kill()


def tried(cable: Cable, *only: str, ports: tuple[tuple[str, int], ...] = LISTEN) -> dict[str, dict[str, Any]]:
    """Return what `a` found of `b`, by what was tried."""
    listen = [{"protocol": protocol, "port": port} for protocol, port in ports]
    asks: dict[str, dict[str, Any]] = {"etcd": {"protocol": "tcp", "port": 2380, "times": 10},
            "api": {"protocol": "tcp", "port": 6443, "times": 3},
            "overlay": {"protocol": "udp", "port": 8472, "size": 1500},
            "echo": {"protocol": "icmp", "port": 0, "size": 1500},
            "through": {"protocol": "icmp", "port": 0, "address": "10.98.7.2"},
            "vrrp": {"protocol": "vrrp", "port": 0, "router": 245, "from": A}}
    asks = {name: ask for name, ask in asks.items() if name in only or (not only and name != "through")}
    with host(cable, cable.b, B, listen=listen) as other, host(cable, cable.a, A) as process:
        assert process.stdin and process.stdout and other.stdin and other.stdout
        go = {"reach": [{"address": B, **ask, "id": name} for name, ask in asks.items()]}
        process.stdin.write(json.dumps(go).encode() + b"\n")
        process.stdin.flush()
        found: dict[str, dict[str, Any]] = {}
        for line in map(json.loads, process.stdout):
            if "all" in line:
                break
            found[line["tried"].pop("id")] = line["tried"]
        other.stdin.close()
        *_, last = other.stdout
        return {**found, "heard": {"vrrp": json.loads(last)["vrrp"]}}


def test_a_good_cable_lets_everything_through(cable: Cable) -> None:
    found = tried(cable)
    assert (found["etcd"]["ok"], found["etcd"]["lost"], len(found["etcd"]["ms"])) == (True, 0, 10)
    assert found["overlay"] == found["echo"] == {"ok": True, "passes": 1500}
    assert found["heard"]["vrrp"] == [[A, 245, True, 3]]


@pytest.mark.parametrize(("rule", "lost", "why"), [
    ("tcp dport 2380 drop", "etcd", "timed out"),
    ("tcp dport 6443 reject with tcp reset", "api", "refused"),
    ("tcp dport 6443 reject", "api", "refused"),
    ("tcp dport 2380 reject with icmp type host-prohibited", "etcd", "unreachable: No route to host"),
    ("udp dport 8472 drop", "overlay", "timed out"),
    ("udp dport 8472 reject", "overlay", "refused"),
])
def test_a_firewall_is_told_by_what_it_answers_and_the_rest_passes(
        cable: Cable, rule: str, lost: str, why: str) -> None:
    cable.rule(rule)
    found = tried(cable)
    path = {"passes": 1500} if lost == "overlay" else {}
    assert found[lost] == {"ok": False, "why": why, **path}
    assert {name for name, said in found.items() if said.get("ok") is False} == {lost}


def test_advertisements_that_are_dropped_are_not_heard(cable: Cable) -> None:
    cable.rule("ip protocol 112 drop")
    found = tried(cable, "vrrp")
    assert (found["vrrp"]["ok"], found["heard"]["vrrp"]) == (True, [])


def test_a_stateful_firewall_lets_the_answers_of_what_it_lets_in_out(cable: Cable) -> None:
    inside(cable.b, "nft", "add table inet fw; add chain inet fw in { type filter hook input priority 0; policy "
             "drop; }; add rule inet fw in ct state established accept; add rule inet fw in tcp dport 2380 accept")
    found = tried(cable, "etcd", "api", "overlay")
    assert (found["etcd"]["ok"], found["api"]["why"], found["overlay"]["why"]) == (True, "timed out", "timed out")


def test_a_path_that_takes_less_is_measured_to_the_byte(cable: Cable) -> None:
    """Dropped on the way, without a word: no message of ICMP tells what would pass."""
    cable.rule("meta length > 1400 drop")
    found = tried(cable, "overlay", "echo", "api")
    assert found["overlay"] == found["echo"] == {"ok": True, "passes": 1400}
    assert found["api"]["ok"] is True


def test_a_path_is_measured_also_where_the_port_is_closed(cable: Cable) -> None:
    cable.rule("meta length > 1400 drop")
    inside(cable.b, "nft", "add rule inet fw in udp dport 8472 drop")
    assert tried(cable, "overlay")["overlay"] == {"ok": False, "why": "timed out", "passes": 1400}


def test_an_interface_that_takes_less_is_seen_from_its_own_side(cable: Cable) -> None:
    inside(cable.a, "ip", "link", "set", "eth0", "mtu", "1300")
    assert tried(cable, "overlay")["overlay"] == {"ok": True, "passes": 1300}


def test_latency_is_the_network_s_own(cable: Cable) -> None:
    """A line of 4 kbit/s takes more than 100 ms for the 74 bytes of an answer."""
    inside(cable.b, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "4kbit", "burst", "100",
             "limit", "9000")
    found = tried(cable, "etcd")["etcd"]
    assert found["ok"] and sorted(found["ms"])[len(found["ms"]) // 2] > 100, found


def test_packets_that_are_lost_are_counted(cable: Cable) -> None:
    """Every third request for a connection is lost; the kernel sends it again after a second."""
    cable.rule("tcp dport 2380 tcp flags syn numgen inc mod 3 == 1 drop")
    found = tried(cable, "etcd")["etcd"]
    assert found["ok"] and 3 <= found["lost"] <= 7 and found["of"] == 10, found


def test_a_cable_that_is_cut_is_told_as_silence(cable: Cable) -> None:
    cable.rule("drop")
    found = tried(cable, "etcd", "overlay", "echo")
    assert {found[name]["why"] for name in ("etcd", "overlay", "echo")} == {"timed out"}


def test_a_port_that_the_kernel_has_for_vxlan_is_theirs_and_the_overlay_answers_through_it(cable: Cable) -> None:
    """What a cluster that runs looks like: a device of flannel's kind on both sides."""
    for name, far, own in ((cable.a, B, "10.98.7.1"), (cable.b, A, "10.98.7.2")):
        inside(name, "ip", "link", "add", "flannel.1", "type", "vxlan", "id", "1", "dstport", "8472", "remote", far,
                 "dev", "eth0")
        inside(name, "ip", "address", "add", f"{own}/24", "dev", "flannel.1")
        inside(name, "ip", "link", "set", "flannel.1", "up")
    with host(cable, cable.b, B, "theirs", listen=[{"protocol": "udp", "port": 8472}]):
        assert tried(cable, "through", ports=())["through"] == {"ok": True}
        cable.rule("udp dport 8472 drop")
        assert tried(cable, "through", ports=())["through"] == {"ok": False, "why": "timed out"}
