"""A cluster of two families on nodes of their own: each of a Service's addresses is reached from a Pod elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.apart import apart
from tests.lab.conftest import Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(900)]
HOSTS = ("cp1", "w1", "w2")
BUSYBOX = "kubewright.local/busybox:1"
BELOW = "default.svc.cluster.local"
ADDRESSES = {"cp1": "10.77.0.11", "w1": "10.77.0.21", "w2": "10.77.0.22"}
RANGES = {"hosts": "fd77::/64", "pods": "fd77:244::/56", "services": "fd77:96::/112"}
# A server and its Service of both families, and one who asks it from the other worker.
OBJECTS = """
apiVersion: v1
kind: Pod
metadata: {{name: server, labels: {{app: two}}}}
spec:
  nodeName: w1
  containers:
  - {{name: it, image: {image}, imagePullPolicy: Never,
     command: [sh, -c, "mkdir /www; cd /www; echo yes > seen; seq 1 30000 > many; exec httpd -f -p '[::]:80'"]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: client}}
spec:
  nodeName: w2
  containers: [{{name: it, image: {image}, imagePullPolicy: Never, command: [sleep, "3600"]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: two}}
spec: {{ipFamilyPolicy: RequireDualStack, selector: {{app: two}}, ports: [{{port: 80}}]}}
"""


def dual(text: str) -> str:
    """Return the lab's inventory with three hosts and a second of each address and range."""
    for name, second in RANGES.items():
        before = next(line for line in text.splitlines() if line.startswith(f"  {name}: ["))
        text = text.replace(before, before.replace("]", f', "{second}"]', 1))
    for host, address in ADDRESSES.items():
        text = text.replace(f"{host}: {{address: {address},", f'{host}: {{address: [{address}, "{of_node(host)}"],')
    return text


def of_node(host: str) -> str:
    return f"fd77::{ADDRESSES[host].rpartition('.')[2]}"


@pytest.fixture(scope="module")
def two_families() -> Iterator[Lab]:
    """Three empty nodes in an instance of their own, which `up` has made a cluster of two families."""
    with apart("dual", HOSTS) as lab:
        lab.file.write_text(dual(lab.file.read_text(encoding="utf-8")), encoding="utf-8")
        lab.run("lab", "up")
        lab.run("up", "--yes")
        yield lab


def asked(lab: Lab, address: str, file: str) -> str:
    """Return what the server says when the client asks it for a file at an address."""
    call = f"printf 'GET /{file} HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address} 80"
    said = lab.kubectl("exec", "client", "--", "sh", "-c", call, check=False)
    return said.replace("\r\n", "\n").partition("\n\n")[2]


def spec(lab: Lab, kind: str, name: str, *more: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(lab.kubectl(*more, "get", kind, name, "-o", "json"))["spec"]
    return found


def test_nodes_have_a_part_of_either_range_and_are_known_by_both_their_addresses(two_families: Lab) -> None:
    for host in HOSTS:
        of_pods = spec(two_families, "node", host)["podCIDRs"]
        assert isinstance(of_pods, list) and [":" in part for part in of_pods] == [False, True]
        internal = "jsonpath={.status.addresses[?(@.type=='InternalIP')].address}"
        seen = two_families.kubectl("get", "node", host, "-o", internal)
        assert seen.split() == [ADDRESSES[host], of_node(host)]


def test_a_service_of_both_families_is_reached_at_each_from_a_pod_on_another_node(two_families: Lab) -> None:
    two_families.kubectl("apply", "-f", "-", stdin=OBJECTS.format(image=BUSYBOX))
    two_families.kubectl("wait", "--for=condition=Ready", "pod/server", "pod/client", "--timeout=120s")
    service = spec(two_families, "service", "two")["clusterIPs"]
    assert isinstance(service, list) and [":" in address for address in service] == [False, True]
    pods = two_families.kubectl("get", "pod", "server", "-o", "jsonpath={.status.podIPs[*].ip}").split()
    assert [":" in address for address in pods] == [False, True]
    for address in (*pods, *service):
        until(lambda place=address: asked(two_families, place, "seen") == "yes\n", 60, f"{address} answers")
        assert asked(two_families, address, "many").split() == [str(n) for n in range(1, 30001)], "packets of full size"
    both = two_families.kubectl("exec", "client", "--", "nslookup", f"two.{BELOW}")
    assert all(address in both for address in service)


def test_cluster_dns_answers_at_its_address_of_ipv6_too(two_families: Lab) -> None:
    said = two_families.kubectl("exec", "client", "--", "nslookup", f"kubernetes.{BELOW}", "fd77:96::a")
    assert "10.96.0.1" in said


def test_a_second_up_of_two_families_changes_nothing(two_families: Lab) -> None:
    assert "No changes" in two_families.run("plan").stdout
    assert two_families.run("status").returncode == 0
    two_families.run("drift")


def test_rules_of_ipv6_that_somebody_flushed_come_back(two_families: Lab) -> None:
    two_families.on("w1", "nft", "flush", "ruleset")
    until(lambda: "jump services" in two_families.on("w1", "nft", "list", "chain", "ip6", "kube-proxy", "nat-output",
                                                     check=False), 120, "kube-proxy's rules of IPv6 are back")
    until(lambda: "masquerade" in two_families.on("w1", "nft", "list", "chain", "ip6", "flannel-ipv6", "postrtg",
                                                  check=False), 120, "flannel's rules of IPv6 are back")
