"""One control plane and one worker: a whole cluster too, and the cheapest to break."""

from __future__ import annotations

import pytest

from tests.lab.machines import Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(600)]
NOT_HEALTHY = 13


def test_one_control_plane_and_one_worker_are_a_healthy_cluster(single: Lab) -> None:
    seen = single.json("status")
    assert [(row["host"], row["kubelet"]) for row in seen["hosts"]] == [("cp1", "Ready"), ("w2", "Ready")]
    assert seen["healthy"] and single.json("plan")["changes"] == []


@pytest.mark.dirties
@pytest.mark.parametrize(("host", "path", "unit"), [
    ("cp1", "/var/lib/etcd/member", "etcd"), ("w2", "/var/lib/kubelet/config.yaml", "kubelet")])
def test_what_was_deleted_is_there_again_for_the_next_test(single: Lab, host: str, path: str, unit: str) -> None:
    """Each deletes what no `up` brings back, and begins with a cluster that knows nothing of the other."""
    assert single.json("status")["healthy"]
    single.on(host, "rm", "-rf", path)
    single.on(host, "systemctl", "restart", "--no-block", unit)
    assert single.run("status", check=False).returncode == NOT_HEALTHY
