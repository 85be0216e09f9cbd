"""What the API of the cluster that `up` made shows, to whom, and where."""

from __future__ import annotations

import base64
import json

import pytest

from tests.lab.conftest import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


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


def test_an_administrator_is_known_to_the_api_by_their_own_name(cluster: Lab) -> None:
    seen = json.loads(cluster.kubectl("auth", "whoami", "-o", "json"))
    assert seen["status"]["userInfo"]["username"] == "operator:kubewright-lab"


def test_flannel_on_a_node_may_write_to_the_node_itself_and_to_no_other(cluster: Lab) -> None:
    pki = "/etc/kubernetes/pki"

    def patched(node: str) -> str:
        body = json.dumps({"metadata": {"annotations": {"example.org/who": "w1"}}})
        return cluster.on(
            "w1", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PATCH", "--cacert", f"{pki}/ca.crt",
            "--cert", f"{pki}/kubelet-client.crt", "--key", f"{pki}/kubelet-client.key", "-d", body,
            "-H", "Content-Type: application/merge-patch+json",
            f"https://127.0.0.1:7443/api/v1/nodes/{node}/status")

    assert f"{pki}/kubelet-client.crt" in cluster.on("w1", "cat", "/etc/kubernetes/flannel.conf")
    assert (patched("w1"), patched("w2")) == ("200", "403")
