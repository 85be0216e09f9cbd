"""What people want from Kubernetes, on the cluster that `up` made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier.package import argv, frame
from tests.lab import figures
from tests.lab.conftest import NODES, ROOT, Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

WORKLOADS = (Path(__file__).parent / "workloads.yaml").read_text(encoding="utf-8")
RATE = 20.0       # requests a second while the Deployment behind them is changed
ADDRESSES = {"w1": "10.77.0.21", "w2": "10.77.0.22"}


@pytest.fixture(scope="module")
def web(cluster: Lab) -> Iterator[Lab]:
    cluster.kubectl("apply", "-f", "-", stdin=WORKLOADS)
    rolled_out(cluster)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/client", "pod/pair", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=WORKLOADS)


def rolled_out(lab: Lab) -> None:
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def get(lab: Lab, *what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.kubectl("get", *what, "-o", "json"))
    return found


def pods(lab: Lab) -> dict[str, Mapping[str, Any]]:
    """Return the Deployment's Pods by name, without those that are going."""
    items = get(lab, "pods", "-l", "app=web")["items"]
    return {p["metadata"]["name"]: p for p in items if "deletionTimestamp" not in p["metadata"]}


def ready(lab: Lab) -> set[str]:
    """Return the names of the Pods to which the Service sends traffic."""
    slices = get(lab, "endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
    return {e["targetRef"]["name"] for s in slices for e in s["endpoints"] or () if e["conditions"]["ready"]}


def ask(lab: Lab, host: str, port: int = 80, path: str = "/name", times: int = 1) -> list[str]:
    """Return the bodies of so many requests of the client Pod, each on a new connection."""
    request = f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port}"
    loop = f"for i in $(seq {times}); do {request} | tail -n 1 || exit 1; done"
    answers = lab.kubectl("exec", "client", "--", "sh", "-c", loop).splitlines()
    assert len(answers) == times, answers
    return answers


def address(lab: Lab) -> str:
    return str(get(lab, "service", "web")["spec"]["clusterIP"])


@contextmanager
def requests(lab: Lab, host: str, url: str, found: list[Mapping[str, Any]], directory: Path) -> Iterator[None]:
    """Let `host` ask `url` again and again while the block runs; afterwards `found` holds every attempt."""
    series = {"name": "web", "kind": "http", "url": url, "rate": RATE, "status": [200]}
    output = directory / "attempts"
    with output.open("wb") as file:
        process = subprocess.Popen(lab.argv("lab", "exec", host, "--", *argv("sample")), cwd=ROOT, stdout=file,
                                   stdin=subprocess.PIPE)
        assert process.stdin is not None
        try:
            process.stdin.write(frame({"series": [series], "patience": 200}))
            process.stdin.flush()
            until(lambda: output.read_text().count('"took"') > RATE, 30, "a second of requests")
            yield
        finally:
            process.stdin.close()
            assert process.wait(60) == 0
    found += [a for line in output.read_text().splitlines() for a in json.loads(line)["attempts"]]


def changed_without_a_failure(lab: Lab, directory: Path, *change: str) -> int:
    """Make a change of the Deployment under requests from a host; return their number, and fail when one failed."""
    found: list[Mapping[str, Any]] = []
    with requests(lab, "w1", f"http://{address(lab)}/version", found, directory):
        lab.kubectl(*change)
        rolled_out(lab)
        until(lambda: len(get(lab, "pods", "-l", "app=web")["items"]) == 2, 30, "the old Pods are gone")
    figures.record(f"requests while {' '.join(change[:2])}", [float(a["took"]) for a in found], unit="s")
    assert [a for a in found if "why" in a] == []
    return len(found)


def test_a_deployment_is_reached_by_its_services_name_from_a_pod_on_another_node(web: Lab) -> None:
    there = pods(web)
    assert {p["spec"]["nodeName"] for p in there.values()} == {"w1", "w2"}, "so one is on another node than the client"
    answered: set[str] = set()

    def all_answered() -> bool:
        answered.update(ask(web, "web.default.svc.cluster.local", times=5))
        return answered >= set(there)

    until(all_answered, 60, f"both of {set(there)} answer behind the Service")
    assert answered == set(there)


def test_pods_reach_each_other_by_address_across_nodes(web: Lab) -> None:
    for name, pod in pods(web).items():
        assert ask(web, pod["status"]["podIP"], 8080) == [name]


def test_a_headless_service_names_each_pod(web: Lab) -> None:
    said = web.kubectl("exec", "client", "--", "nslookup", "web-each.default.svc.cluster.local")
    assert {p["status"]["podIP"] for p in pods(web).values()} <= set(said.split())


def test_a_service_is_reached_at_its_address_and_at_a_nodes_port_from_every_kind_of_host(web: Lab) -> None:
    for host in ("cp1", "w2"):
        assert web.on(host, "curl", "-sf", "-m", "5", f"http://{address(web)}/name").strip() in pods(web)
    for host, node in (("cp1", "w1"), ("w1", "w2")):
        outside = f"http://{ADDRESSES[node]}:30080/name"
        assert web.on(host, "curl", "-sf", "-m", "5", outside).strip() in pods(web)


def test_logs_are_read_and_commands_run_through_the_kubelet_of_every_worker(web: Lab) -> None:
    for name in pods(web):
        assert f"serving as {name}" in web.kubectl("logs", name)
        assert web.kubectl("exec", name, "--", "hostname").strip() == name


def test_two_containers_of_a_pod_share_a_volume(web: Lab) -> None:
    assert ask(web, get(web, "pod", "pair")["status"]["podIP"], 8080) == ["written by the writer"]


def test_a_deployment_is_scaled_by_hand(web: Lab) -> None:
    for replicas in (4, 2):
        web.kubectl("scale", "deployment/web", f"--replicas={replicas}")
        rolled_out(web)
        until(lambda wanted=replicas: len(ready(web)) == wanted, 30, f"{replicas} Pods get traffic")


def test_a_services_address_stays_while_its_pods_die_and_only_ready_pods_of_its_selector_get_traffic(web: Lab) -> None:
    before, first = address(web), set(pods(web))
    web.kubectl("delete", "pod", "--force", *first)
    unready, serving = until(lambda: two_others(ready(web), first), 60, "two other Pods get the traffic")
    web.kubectl("exec", unready, "--", "rm", "/www/ready")
    until(lambda: ready(web) == {serving}, 30, "the unready one gets none")
    assert address(web) == before
    until(lambda: set(ask(web, before, times=20)) == {serving}, 30,
          "neither the unready one answers nor `pair`, which listens as well")
    web.kubectl("exec", unready, "--", "touch", "/www/ready")
    rolled_out(web)
    until(lambda: ready(web) == {unready, serving}, 30, "it is back")


def two_others(now: set[str], first: set[str]) -> list[str]:
    return sorted(now) if len(now) == 2 and not now & first else []


def test_a_rolling_update_fails_no_request_and_a_rollback_brings_the_old_version_back(
        web: Lab, tmp_path: Path) -> None:
    assert set(ask(web, "web", path="/version", times=5)) == {"1"}
    updated = changed_without_a_failure(web, tmp_path, "set", "env", "deployment/web", "VERSION=2")
    assert set(ask(web, "web", path="/version", times=5)) == {"2"}
    undone = changed_without_a_failure(web, tmp_path, "rollout", "undo", "deployment/web")
    assert set(ask(web, "web", path="/version", times=5)) == {"1"}
    assert min(updated, undone) >= 2 * RATE, "each took at least two seconds of requests"


def test_the_use_of_every_node_and_pod_is_measured(web: Lab) -> None:
    api = until(lambda: _available(get(web, "apiservice", "v1beta1.metrics.k8s.io")), 60, "the API of metrics")
    assert "caBundle" in api["spec"]
    rows = until(lambda: _all_measured(web.kubectl("top", "nodes", "--no-headers", check=False)), 60, "five nodes")
    assert all(int(cpu.removesuffix("m")) > 0 for cpu in rows.values())
    until(lambda: "busy-" in web.kubectl("top", "pods", "--no-headers", check=False), 60, "the Pods are measured")


def _available(api: dict[str, Any]) -> dict[str, Any]:
    return api if api["status"]["conditions"][0]["status"] == "True" else {}


def _all_measured(table: str) -> dict[str, str]:
    """Return the CPU column by node once it is there for all five."""
    rows = {words[0]: words[1] for line in table.splitlines() if len(words := line.split()) >= 2}
    return rows if set(rows) == set(NODES) and all(cpu.endswith("m") for cpu in rows.values()) else {}


def test_a_deployment_is_scaled_by_its_use_of_the_processor(web: Lab) -> None:
    def scaled() -> dict[str, Any]:
        status = get(web, "hpa", "busy")["status"]
        return status if status.get("desiredReplicas") == 2 else {}

    status = until(scaled, 90, "the autoscaler wants two", interval=1.0)
    used = status["currentMetrics"][0]["resource"]["current"]["averageUtilization"]
    assert used > 60, "because one uses more than it should"
    assert status["lastScaleTime"], "and nobody else has scaled it"
    web.kubectl("rollout", "status", "deployment/busy", "--timeout=60s")
