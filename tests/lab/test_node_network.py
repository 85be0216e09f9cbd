"""What others do to a node's network, on a cluster that runs: it comes back by itself, or is named."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.lab import figures
from tests.lab.conftest import NODES, Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]
MINUTE = 60.0
SERVICE = 'import socket; socket.create_connection(("10.96.0.1", 443), 1).close()'
CALICO = json.dumps({"cniVersion": "0.3.1", "name": "k8s-pod-network",
                     "plugins": [{"type": "calico", "ipam": {"type": "calico-ipam"}}]})


def serves(lab: Lab, host: str) -> bool:
    """Say whether a Service address leads anywhere from a node, and flannel masquerades there."""
    said = lab.on(host, "sh", "-c", f"python3 -c '{SERVICE}' && nft list chain ip flannel-ipv4 postrtg", check=False)
    return "masquerade" in said


def reaches_all(lab: Lab, host: str) -> bool:
    """Say whether a node has a way to the Pods of every other: a route, and a neighbour behind it."""
    routes = lab.on(host, "ip", "route", "show", "dev", "flannel.1", check=False).count(" via ")
    neighbours = lab.on(host, "ip", "neigh", "show", "dev", "flannel.1", "nud", "permanent", check=False).splitlines()
    return routes == len(neighbours) == len(NODES) - 1


def back(lab: Lab, look: Callable[[], bool], what: str) -> None:
    """Measure how long something that was just taken away is away, and ask that it is at most a minute."""
    assert not look(), f"{what}: it was never gone"
    began = time.monotonic()
    until(look, 3 * MINUTE, what, interval=0.5)
    took = time.monotonic() - began
    figures.record(f"{what}: until it is back by itself", [took], unit="s", limit=MINUTE)
    assert took <= MINUTE


@pytest.fixture
def watched(cluster: Lab) -> Lab:
    """A cluster on whose workers the rules of the running services were seen to be there."""
    for host in ("w1", "w2"):
        until(lambda host=host: all(
            cluster.on(host, "systemctl", "show", "-p", "InvocationID", "--value", unit).strip()
            == cluster.on(host, "cat", f"/run/kubewright-network-watch/{unit}", check=False).strip()
            for unit in ("kube-proxy.service", "flanneld.service")), 60, f"{host}: rules and routes seen")
    return cluster


def test_rules_and_routes_that_others_flush_are_back_within_a_minute(watched: Lab) -> None:
    watched.on("w2", "ip", "route", "flush", "dev", "flannel.1")
    watched.on("w1", "nft", "flush", "ruleset")
    back(watched, lambda: serves(watched, "w1"), "rules after `nft flush ruleset`")
    until(lambda: reaches_all(watched, "w2"), MINUTE, "the routes, which were flushed before the rules")
    journal = watched.on("w2", "journalctl", "-u", "kubewright-network-watch", "-o", "cat")
    assert "flanneld.service is restarted: no way through flannel.1 to 10.244." in journal


@pytest.mark.full
@pytest.mark.parametrize("loss", [
    "ip link del flannel.1", "ip link set flannel.1 down; ip link set flannel.1 up", "ip route flush dev flannel.1",
    "ip neigh flush dev flannel.1 nud permanent"])
def test_a_way_to_other_nodes_is_back_whatever_took_it(watched: Lab, loss: str) -> None:
    watched.on("w2", "sh", "-c", loss)
    back(watched, lambda: reaches_all(watched, "w2"), f"ways after `{loss}`")


@pytest.mark.full
@pytest.mark.parametrize("loss", [
    "nft flush table ip kube-proxy", "nft delete table ip kube-proxy", "nft delete table ip flannel-ipv4",
    "systemctl restart nftables"])
def test_rules_are_back_whatever_took_them(watched: Lab, loss: str) -> None:
    watched.on("w1", "sh", "-c", loss)
    back(watched, lambda: serves(watched, "w1"), f"rules after `{loss}`")


@pytest.mark.full
def test_up_right_after_a_flush_ends_well(watched: Lab) -> None:
    watched.on("w1", "nft", "flush", "ruleset")
    watched.run("up", "--yes")
    assert serves(watched, "w1")


@pytest.mark.full
def test_nothing_is_restarted_where_nothing_is_lost(watched: Lab) -> None:
    def journals() -> list[str]:
        return [watched.on(h, "journalctl", "-u", "kubewright-network-watch", "-o", "cat") for h in ("cp1", "w2")]

    before = journals()
    end = time.monotonic() + 35
    until(lambda: time.monotonic() > end, 60, "three looks have passed", interval=1.0)
    assert journals() == before


@pytest.fixture
def foreign(cluster: Lab) -> Iterator[Lab]:
    """A cluster with a file of another CNI on w1 that sorts before any of ours."""
    cluster.on("w1", "sh", "-c", f"mkdir -p /etc/cni/net.d; echo '{CALICO}' > /etc/cni/net.d/05-calico.conflist")
    yield cluster
    cluster.on("w1", "rm", "/etc/cni/net.d/05-calico.conflist")
    cluster.kubectl("delete", "pod", "on-w1", "--now", "--ignore-not-found", "--wait=false")


@pytest.mark.full
def test_a_file_of_another_cni_does_no_harm(foreign: Lab) -> None:
    image = next(line for line in foreign.on("w1", "ctr", "-n", "k8s.io", "images", "ls", "-q").splitlines()
                 if "busybox" in line)
    foreign.kubectl("apply", "-f", "-", stdin=json.dumps({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "on-w1", "namespace": "default"},
        "spec": {"nodeName": "w1", "terminationGracePeriodSeconds": 0, "containers": [{
            "name": "it", "image": image, "imagePullPolicy": "Never", "command": ["sleep", "300"]}]}}))
    foreign.kubectl("wait", "--for=condition=Ready", "pod/on-w1", "--timeout=60s")
    address = foreign.kubectl("get", "pod", "on-w1", "-o", "jsonpath={.status.podIP}")
    subnet = foreign.on("w1", "cat", "/run/flannel/subnet.env").partition("FLANNEL_SUBNET=")[2].partition(".1/24")[0]
    assert address.startswith(f"{subnet}.")


@pytest.mark.full
def test_a_chain_that_drops_what_is_forwarded_is_named(cluster: Lab) -> None:
    cluster.on("w1", "nft", "add table inet fw; "
                            "add chain inet fw passing { type filter hook forward priority 0; policy drop; }")
    try:
        said = cluster.run("check", check=False)
        assert said.returncode == 11
        drops = "w1: firewall: its firewall drops what is forwarded for Pods: inet fw passing (policy drop)"
        assert drops in said.stderr
    finally:
        cluster.on("w1", "nft", "delete", "table", "inet", "fw")


@pytest.mark.full
def test_rules_that_another_kube_proxy_left_are_named(cluster: Lab) -> None:
    for words in ("-N KUBE-SERVICES", "-A OUTPUT -j KUBE-SERVICES",
                  "-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp --dport 443 -j DNAT --to 192.0.2.1:6443"):
        cluster.on("w1", "iptables", "-t", "nat", *words.split())
    try:
        said = cluster.run("check", check=False)
        assert said.returncode == 11
        assert "w1: rules: rules of another kube-proxy are left in iptables' nat KUBE-SERVICES" in said.stderr
        assert "on w1: iptables -t nat -F KUBE-SERVICES" in said.stderr
    finally:
        cluster.on("w1", "iptables", "-t", "nat", "-F", "KUBE-SERVICES")
        cluster.on("w1", "iptables", "-t", "nat", "-D", "OUTPUT", "-j", "KUBE-SERVICES")
        cluster.on("w1", "iptables", "-t", "nat", "-X", "KUBE-SERVICES")
