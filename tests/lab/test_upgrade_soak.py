"""A minor on trial: taken back and finished under load, and several minors in one command."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.lab import figures
from tests.lab.conftest import NODES, Lab, until
from tests.lab.load import VIP, Load, lost_writes, reads, writes
from tests.lab.newer import FROM, TO, ask_for, older

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(1500)]


@pytest.fixture
def asked(cluster: Lab) -> Iterator[Lab]:
    """A cluster of the older version that serves, its inventory and lock naming the newer."""
    with older(cluster):
        ask_for(cluster, TO)
        yield cluster


def versions(lab: Lab) -> tuple[str, str, set[str]]:
    """Return what the API servers are, which minor they behave as, and what the kubelets are."""
    found = json.loads(lab.kubectl("get", "--raw", "/version"))
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    return (found["gitVersion"], f"{found.get('emulationMajor', '')}.{found.get('emulationMinor', '')}",
            {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes})


def test_a_minor_on_trial_goes_back_with_nothing_lost_and_is_finished_then(asked: Lab) -> None:
    print(asked.run("upgrade", "--plan").stdout)
    seconds: dict[str, float] = {}
    with Load(asked, "w1", [reads(VIP)]) as read, Load(asked, "cp1", [writes(0)]) as write:
        read.run_until(3.0)
        began = time.time()
        print(asked.run("upgrade", "--yes", timeout=900).stderr)
        seconds["on trial"] = time.time() - began
        assert versions(asked) == (f"v{TO}", "1.36", {f"v{FROM}"})
        asked.kubectl("create", "configmap", "made-on-trial", "--from-literal=a=b")
        shown = asked.json("status")
        assert shown["healthy"] and "behaves as 1.36 until" in shown["trial"]
        print(asked.run("status").stdout)
        assert asked.json("plan")["changes"] == []
        assert asked.run("up", "--yes").returncode == 0 and versions(asked)[1] == "1.36"
        began = time.time()
        print(asked.run("upgrade", "--back", "--yes", timeout=900).stderr)
        seconds["back"] = time.time() - began
        assert versions(asked) == (f"v{FROM}", "1.36", {f"v{FROM}"})
        assert asked.kubectl("get", "configmap", "made-on-trial", "-o", "jsonpath={.data.a}") == "b"
        refused = asked.run("upgrade", "--back", "--yes", check=False)
        assert refused.returncode == 15 and "no upgrade is under way" in refused.stderr
        began = time.time()
        asked.run("upgrade", "--soak", "1h", "--yes", timeout=900)
        seconds["on trial again"] = time.time() - began
        began = time.time()
        print(asked.run("upgrade", "--finish", "--yes", timeout=900).stderr)
        seconds["finish"] = time.time() - began
        read.run_until(read.seconds() + 3.0)
    assert versions(asked) == (f"v{TO}", "1.37", {f"v{TO}"})
    attempts = [a for load in (read, write) for a in load.attempts]
    failed, lost = [a for a in attempts if a.why], lost_writes(asked, write.attempts)
    took = sorted(a.took for a in attempts if not a.why)
    figures.record("failed attempts while a minor is tried, taken back, tried again and finished", [float(len(failed))],
                   unit="failed", limit=0, attempts=len(attempts), lost=len(lost), p999=took[int(len(took) * 0.999)],
                   slowest=took[-1], seconds=seconds, failures=[vars(a) for a in failed][:50])
    assert asked.json("plan")["changes"] == [] and asked.json("status")["trial"] == ""
    assert asked.kubectl("get", "configmap", "made-on-trial", "-o", "jsonpath={.data.a}") == "b"
    until(lambda: asked.json("status")["healthy"], 60, "healthy")
    assert not failed and not lost, (failed[:10], lost)
    assert set(NODES) == {h["host"] for h in asked.json("status")["hosts"]}
