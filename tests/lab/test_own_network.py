"""Two nodes whose Pod network comes later, whose resolver is a stub, and whose cluster has a name of its own in DNS.

`up` ends well before and after.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from provisioner.artifacts.lockfile import load_lock
from provisioner.artifacts.supply import held
from provisioner.lab import nodes
from tests.lab.apart import apart
from tests.lab.conftest import Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(900)]
HOSTS = ("cp1", "w1")
DOMAIN = "shop.example"
BUSYBOX = "kubewright.local/busybox:1"
ADDRESS = {"cp1": "10.77.0.11", "w1": "10.77.0.21"}


@pytest.fixture(scope="module")
def two() -> Iterator[Lab]:
    """Two empty nodes in an instance of their own, with `plugin: none` and CoreDNS's own choice of whom to ask."""
    with apart("ownnet", HOSTS) as lab:
        lines = lab.file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith("  coredns:")]
        text = "".join(kept).replace("plugin: flannel", f"plugin: none\n  domain: {DOMAIN}")
        lab.file.write_text(text, encoding="utf-8")
        lab.run("lab", "up")
        yield lab


def bring_a_network(lab: Lab) -> None:
    """Do by hand what a CNI does: a plugin and its configuration on each node, and routes between them."""
    lock = load_lock(lab.directory / "artifacts.lock")
    cidrs = {h: lab.kubectl("get", "node", h, "-o", "jsonpath={.spec.podCIDR}") for h in HOSTS}
    for host, other in (HOSTS, HOSTS[::-1]):
        root = nodes.paths(lab.instance, host).root
        for name in ("ptp", "host-local"):
            shutil.copy(held(lock)[lock.get(name, "amd64").sha256], root / "opt/cni/bin" / name)
            (root / "opt/cni/bin" / name).chmod(0o755)
        (root / "etc/cni/net.d/10-mine.conflist").write_text(json.dumps({
            "cniVersion": "1.0.0", "name": "mine", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": {
                "type": "host-local", "ranges": [[{"subnet": cidrs[host]}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}))
        lab.on(host, "ip", "route", "replace", cidrs[other], "via", ADDRESS[other])


def corefile(lab: Lab) -> str:
    return lab.kubectl("-n", "kube-system", "get", "configmap", "coredns", "-o", "jsonpath={.data.Corefile}")


def test_up_ends_well_without_a_network_and_proves_the_rest_once_there_is_one(two: Lab) -> None:
    for host in HOSTS:
        two.on(host, "sh", "-c", "printf 'nameserver 127.0.0.53\n' > /etc/resolv.conf; mkdir -p /run/systemd/resolve; "
                                 "printf 'nameserver 10.77.0.1\n' > /run/systemd/resolve/resolv.conf")
    said = two.run("up", "--yes")
    assert "Nodes wait for a CNI: cp1, w1. Next: kubectl apply -f YOUR-NETWORK.yaml, then " in said.stdout
    assert "0 nodes Ready" in said.stdout
    roles = two.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.labels}")
    assert all(f"node-role.kubernetes.io/{role}" in roles for role in ("control-plane", "worker"))
    assert "No changes" in two.run("plan").stdout
    status = two.run("status", check=False)
    assert status.returncode == 13
    assert "w1: waits for a CNI: kubectl apply -f YOUR-NETWORK.yaml" in status.stdout

    bring_a_network(two)
    two.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=90s")
    said = two.run("up", "--yes")
    assert "2 nodes Ready" in said.stdout
    assert "wait for a CNI" not in said.stdout
    assert "resolvConf: /run/systemd/resolve/resolv.conf" in two.on("w1", "cat", "/var/lib/kubelet/config.yaml")
    assert "forward . /etc/resolv.conf" in corefile(two)
    assert two.run("status").returncode == 0


def test_services_are_found_below_the_cluster_s_own_domain(two: Lab) -> None:
    issuer = f"https://kubernetes.default.svc.{DOMAIN}"
    assert json.loads(two.kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"] == issuer
    two.kubectl("run", "client", "--restart=Never", f"--image={BUSYBOX}", "--image-pull-policy=Never",
                "--command", "--", "sleep", "3600")
    two.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=90s")
    assert f"search default.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}" in two.kubectl(
        "exec", "client", "--", "cat", "/etc/resolv.conf")
    assert "10.96.0.1" in two.kubectl("exec", "client", "--", "nslookup", f"kubernetes.default.svc.{DOMAIN}")
    call = r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 kubernetes.default 443"
    said = two.kubectl("exec", "client", "--", "sh", "-c", call)
    assert "400 Bad Request" in said, said      # found by the short name, and it wants TLS
    assert two.kubectl("exec", "client", "--", "sh", "-c",
                       "nslookup kubernetes.default.svc.cluster.local. || echo nobody").endswith("nobody\n")
    two.kubectl("delete", "pod", "client", "--now")


def test_coredns_asks_nobody_where_no_host_knows_a_server(two: Lab) -> None:
    for host in HOSTS:
        two.on(host, "sh", "-c", ": > /etc/resolv.conf; rm -f /run/systemd/resolve/resolv.conf")
    said = two.run("check")
    assert "resolver: /etc/resolv.conf names no DNS server that Pods reach" in said.stderr + said.stdout
    two.run("up", "--yes")
    assert "forward" not in corefile(two)
    assert two.run("status").returncode == 0
