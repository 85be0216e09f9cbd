"""Nodes are drained and given back under requests; what a budget holds stays, and whose cordon it is counts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab import figures, served
from tests.lab.machines import Lab, until
from tests.lab.test_kubernetes_workloads import address, get, requests

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(600)]

SHOP = served.objects("web", "maxUnavailable: 1", goes_on=3, grace=4) + """
---
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  nodeName: w1
  terminationGracePeriodSeconds: 1
  volumes: [{name: scratch, emptyDir: {}}]
  containers:
  - {name: shell, image: kubewright.local/busybox:1, imagePullPolicy: Never, command: [sleep, '100000']}
"""


@pytest.fixture
def shop(cluster: Lab) -> Iterator[Lab]:
    """Three replicas behind a Service and a budget, at least one of them on w1, and a Pod of nobody's."""
    cluster.kubectl("cordon", "w2")
    cluster.kubectl("apply", "-f", "-", stdin=SHOP)
    until(lambda: len(on(cluster, "w1", "app=web")) == 3, 60, "all begin on w1")
    cluster.kubectl("uncordon", "w2")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")
    yield cluster
    for host in ("w1", "w2"):
        cluster.kubectl("uncordon", host)
        cluster.kubectl("annotate", "node", host, "kubewright.io/cordoned-")
    cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=SHOP)


def on(lab: Lab, host: str, selector: str = "") -> list[str]:
    """Return the Pods of default that are on a host and not ending."""
    items = get(lab, "pods", *(["-l", selector] if selector else []))["items"]
    return [p["metadata"]["name"] for p in items
            if p["spec"].get("nodeName") == host and "deletionTimestamp" not in p["metadata"]]


def cordoned(lab: Lab, host: str = "w1") -> bool:
    return bool(get(lab, "node", host)["spec"].get("unschedulable"))


def noted(lab: Lab, host: str = "w1") -> str:
    return str(get(lab, "node", host)["metadata"]["annotations"].get("kubewright.io/cordoned", ""))


def hold(lab: Lab, healthy: int) -> None:
    """Let the budget ask for so many healthy Pods, and wait until that is counted."""
    lab.kubectl("patch", "pdb", "web", "--type=merge", "-p",
                f'{{"spec":{{"maxUnavailable":null,"minAvailable":{healthy}}}}}')
    until(lambda: get(lab, "pdb", "web")["status"].get("desiredHealthy") == healthy, 30, "the budget is counted")


def test_a_deployment_moves_without_a_failed_request_one_at_a_time_and_back(shop: Lab, tmp_path: Path) -> None:
    found: list[Mapping[str, Any]] = []
    with requests(shop, "cp1", f"http://{address(shop)}/ready", found, tmp_path):
        began = time.monotonic()
        done = shop.run("node", "drain", "w1", "--yes")
        took = time.monotonic() - began
    assert "ends   default/shell" in done.stderr and "emptyDir scratch is deleted" in done.stderr
    assert "moves  default/web-" in done.stderr and "Deployment web makes another" in done.stderr
    assert [a for a in found if "why" in a] == []
    figures.record("a node of three replicas is drained", [took], unit="s", attempts=len(found))
    assert on(shop, "w1") == [] and cordoned(shop) and noted(shop).startswith("node drain by ")
    again = shop.run("node", "drain", "w1", "--yes")
    assert again.stdout.startswith("w1 is drained already.")
    shop.run("node", "uncordon", "w1", "--yes")
    assert not cordoned(shop) and not noted(shop)
    assert shop.run("status").returncode == 0


def test_a_budget_that_lets_none_go_is_given_up_uncordoned_and_gone_on_with_when_it_allows(shop: Lab) -> None:
    hold(shop, 3)
    blocked = shop.run("node", "drain", "w1", "--timeout", "8", "--yes", check=False)
    assert blocked.returncode == 13, blocked.stderr
    assert "budget default/web: 0 may go: 3 of 3 Pods are healthy, and 3 must be, since " in blocked.stderr
    assert "w1 takes Pods again" in blocked.stderr and "still there after 8 s" in blocked.stderr
    assert not cordoned(shop) and not noted(shop) and len(on(shop, "w1", "app=web")) == 3
    hold(shop, 2)
    shop.run("node", "drain", "w1", "--yes")
    assert on(shop, "w1") == []


def test_what_is_forced_by_name_goes_against_its_budget(shop: Lab) -> None:
    hold(shop, 3)
    done = shop.run("node", "drain", "w1", "--force", "default", "--yes")
    assert done.stderr.count("deleted against default/web, as --force default says") == 3
    assert on(shop, "w1") == []


def test_a_cordon_of_somebody_else_is_left(shop: Lab) -> None:
    shop.kubectl("cordon", "w1")
    done = shop.run("node", "drain", "w1", "--yes")
    assert "is cordoned by somebody else" in done.stderr and on(shop, "w1") == []
    assert cordoned(shop) and not noted(shop)
    refused = shop.run("node", "uncordon", "w1", "--yes", check=False)
    assert refused.returncode == 15 and "kubectl uncordon w1" in refused.stderr and cordoned(shop)
    shop.kubectl("uncordon", "w1")
    shop.run("node", "drain", "w1", "--yes")
    shop.kubectl("uncordon", "w1")
    shop.kubectl("cordon", "w1")        # our note is still there, and the cordon is not ours any more
    assert noted(shop) and shop.run("node", "uncordon", "w1", "--yes", check=False).returncode == 15


def test_killed_in_the_middle_it_is_ended_by_the_next_and_asked_to_stop_it_gives_the_node_back(shop: Lab) -> None:
    hold(shop, 3)
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = shop.start("node", "drain", "w1", "--yes")
        until(lambda: cordoned(shop) and "shell" not in on(shop, "w1"), 60, "it is in the middle")
        os.killpg(process.pid, number)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == code, said
        assert len(on(shop, "w1", "app=web")) == 3
        if number == signal.SIGINT:
            assert "w1 takes Pods again" in said and "node drain w1" in said.splitlines()[-1]
            assert not cordoned(shop)
        else:
            assert cordoned(shop) and noted(shop).startswith("node drain by ")
    hold(shop, 2)
    shop.run("node", "drain", "w1", "--yes")
    assert on(shop, "w1") == []
