"""What people want from Kubernetes, on the cluster that `up` made."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule,
         nodeTaintsPolicy: Honor, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: kubewright.local/busybox:1
        imagePullPolicy: Never
        command: [sh, -c, 'hostname > /tmp/index.html; echo serving as $(hostname); exec httpd -f -v -p 8080 -h /tmp']
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /index.html, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: client, image: kubewright.local/busybox:1, imagePullPolicy: Never, command: [sleep, '100000']}
"""


@pytest.fixture(scope="module")
def web(cluster: Lab) -> Iterator[Lab]:
    cluster.kubectl("apply", "-f", "-", stdin=WEB)
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=WEB)


def pods(lab: Lab, selector: str) -> list[dict[str, Any]]:
    return json.loads(lab.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]


def ask(lab: Lab, host: str, port: int) -> str:
    """Return the body of /index.html as the client Pod gets it; nc, since Debian's static busybox crashes in wget."""
    request = f"printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port}"
    head, _, body = lab.kubectl("exec", "client", "--", "sh", "-c", request).partition("\n\n")
    assert " 200 " in head, head
    return body.strip()


def test_a_deployment_is_reached_by_its_services_name_from_a_pod_on_another_node(web: Lab) -> None:
    nodes = {p["spec"]["nodeName"] for p in pods(web, "app=web")}
    assert nodes == {"w1", "w2"}, "one replica a worker, so one of them is on another node than the client"
    names = {p["metadata"]["name"] for p in pods(web, "app=web")}
    answered: set[str] = set()

    def both_answered() -> bool:
        answered.add(ask(web, "web.default.svc.cluster.local", 80))
        return answered == names

    until(both_answered, 60, f"both of {names} answer behind the Service")


def test_pods_reach_each_other_by_address_across_nodes(web: Lab) -> None:
    for pod in pods(web, "app=web"):
        assert ask(web, pod["status"]["podIP"], 8080) == pod["metadata"]["name"]


def test_a_deployment_scales(web: Lab) -> None:
    web.kubectl("scale", "deployment/web", "--replicas=4")
    web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert len(pods(web, "app=web")) == 4
    web.kubectl("scale", "deployment/web", "--replicas=2")


def test_logs_are_read_through_the_kubelet_of_every_node(web: Lab) -> None:
    for pod in pods(web, "app=web"):
        name = str(pod["metadata"]["name"])
        assert f"serving as {name}" in web.kubectl("logs", name)


def test_the_service_address_is_reachable_from_every_host(web: Lab) -> None:
    address = web.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    for host in ("cp1", "w2"):
        assert web.on(host, "curl", "-sf", "-m", "5", f"http://{address}/index.html").strip()


def test_a_secret_rests_encrypted_in_etcd(cluster: Lab) -> None:
    cluster.kubectl("create", "secret", "generic", "canary", "--from-literal=word=canary-4711")
    try:
        pki = "/etc/kubernetes/pki/etcd"
        raw = cluster.on("cp1", "etcdctl", "--endpoints=https://127.0.0.1:2379", f"--cacert={pki}/ca.crt",
                         f"--cert={pki}/healthcheck-client.crt", f"--key={pki}/healthcheck-client.key",
                         "get", "/registry/secrets/default/canary", "-w", "json")
        value = base64.b64decode(json.loads(raw)["kvs"][0]["value"])
        assert value.startswith(b"k8s:enc:secretbox")
        assert b"canary-4711" not in value
    finally:
        cluster.kubectl("delete", "secret", "canary")


def test_anonymous_requests_see_health_and_nothing_else(cluster: Lab) -> None:
    def status(path: str) -> str:
        return cluster.on("cp1", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", f"https://10.77.0.10:8443{path}")

    assert status("/readyz") == "200"
    assert status("/api") == "401"


def test_exactly_one_host_holds_the_vip(cluster: Lab) -> None:
    holders = [h for h in ("cp1", "cp2", "cp3") if "10.77.0.10/" in cluster.on(h, "ip", "-4", "addr", "show")]
    assert len(holders) == 1
