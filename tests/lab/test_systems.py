"""One cluster of Debian 11, 12 and 13, on nodes of each: up, nothing to do, and a reset to nothing.

And the same behind firewalls that drop by default: nftables with a policy on one, ufw on another.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from provisioner.lab import nodes
from tests.lab import figures, shapes
from tests.lab.footprint import differences, footprint
from tests.lab.machines import Lab, unit_ids, until
from tests.topologies import Topology

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1500)]
ALL = ["etcd", "control-plane", "load-balancer"]
MIXED = Topology("systems", {"vip": "10.77.0.10", "port": 8443}, {
    "cp1": {"address": "10.77.0.11", "roles": ALL, "system": "debian-13"},
    "cp2": {"address": "10.77.0.12", "roles": ALL, "system": "debian-11"},
    "cp3": {"address": "10.77.0.13", "roles": ALL},
    "w1": {"address": "10.77.0.21", "roles": ["worker"], "system": "debian-11"},
    "w2": {"address": "10.77.0.22", "roles": ["worker"], "system": "debian-13"}}, ("cp1", "cp2", "cp3"), rolls=True)
VERSIONS = {"cp1": "13", "cp2": "11", "cp3": "12", "w1": "11", "w2": "13"}
DROPS = """
flush ruleset
table inet filter {
    chain input { type filter hook input priority 0; policy drop;
        ct state established,related accept
        iif lo accept
        tcp dport 22 accept
        ip protocol icmp accept
    }
    chain forward { type filter hook forward priority 0; policy drop; }
}
"""
NFT, UFW = "cp2", "w2"


@pytest.fixture(scope="module")
def mixed() -> Iterator[Lab]:
    with shapes.standing(MIXED) as lab:
        yield lab


def ruleset(lab: Lab, host: str) -> str:
    """Return the kernel's own rules of a node, by its own nft; by this machine's where that is gone with a reset.

    This machine's, of Debian 12, ends with a segmentation fault where Debian 11's iptables has rules.
    """
    if lab.on(host, "sh", "-c", "command -v nft || true"):
        return lab.on(host, "nft", "list", "ruleset")
    init = nodes.init_pid(lab.instance, host)
    done = subprocess.run(["nsenter", f"--target={init}", "--net", "nft", "list", "ruleset"], capture_output=True,
                          text=True, timeout=30, check=True)
    return done.stdout


def has_nothing_to_do(lab: Lab) -> None:
    before = unit_ids(lab, list(VERSIONS))
    assert lab.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
    lab.run("up", "--yes")
    assert unit_ids(lab, list(VERSIONS)) == before


def test_debian_11_12_and_13_are_one_cluster_and_leave_nothing(mixed: Lab) -> None:
    for host, version in VERSIONS.items():
        assert f'VERSION_ID="{version}"' in mixed.on(host, "cat", "/etc/os-release")
    before = {host: footprint(mixed, host) for host in VERSIONS}
    began = time.monotonic()
    mixed.run("up", "--yes")
    figures.record("up of Debian 11, 12 and 13 mixed, five hosts", [time.monotonic() - began], unit="s")
    mixed.run("ready", "--timeout", "120")
    assert mixed.run("doctor", check=False).returncode == 0
    has_nothing_to_do(mixed)
    for host, version in VERSIONS.items():
        said = mixed.on(host, "sh", "-c", "journalctl -b --no-pager _PID=1 | grep -E 'Unknown (key|lvalue|section)' | "
                        "grep -E 'kube|etcd|containerd|flanneld|haproxy|keepalived' || true")
        assert said == "", f"{host}, Debian {version}"
        chain = "KUBE-SERVICES" if version == "11" else "chain services"
        assert chain in ruleset(mixed, host)
    mixed.run("reset", "--yes")
    for host, was in before.items():
        assert differences(was, footprint(mixed, host)) == [], host
        assert "KUBE-" not in ruleset(mixed, host) and "kube-proxy" not in ruleset(mixed, host), host


def opened(lab: Lab, host: str) -> bool:
    return "kubewright-in" in ruleset(lab, host).lower()


def test_firewalls_that_drop_by_default_are_told_and_told_again_and_forget_us(mixed: Lab) -> None:
    install = "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends install"
    mixed.on(NFT, "sh", "-c", f"{install} nftables && cat > /etc/nftables.conf <<'E'\n{DROPS}\nE\n"
             "nft -f /etc/nftables.conf")
    mixed.on(UFW, "sh", "-c", f"{install} ufw iptables && ufw allow 22/tcp && ufw --force enable")
    left = mixed.run("check", check=False)
    assert left.returncode != 0 and "drops by default" in left.stdout + left.stderr
    before = {host: ruleset(mixed, host) for host in (NFT, UFW)}
    shapes.write(mixed, {"firewall": "ours"})
    mixed.run("up", "--yes")
    mixed.run("ready", "--timeout", "120")
    assert opened(mixed, NFT) and opened(mixed, UFW)
    has_nothing_to_do(mixed)
    mixed.on(NFT, "nft", "-f", "/etc/nftables.conf")
    mixed.on(UFW, "ufw", "reload")
    until(lambda: opened(mixed, NFT) and opened(mixed, UFW), 30, "firewalls that were loaded anew are open again")
    until(lambda: mixed.run("ready", check=False).returncode == 0, 120, "the cluster is healthy behind them")
    mixed.run("reset", "--yes")
    assert ruleset(mixed, NFT) == before[NFT]
    assert "kubewright" not in ruleset(mixed, UFW).lower() and "ufw-user-input" in ruleset(mixed, UFW)
