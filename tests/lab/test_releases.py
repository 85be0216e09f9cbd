"""Two empty nodes become a healthy cluster of every release, with what goes with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from provisioner.artifacts.supply import KNOWN
from provisioner.model.releases import RELEASES, minor_of
from tests.lab.apart import apart
from tests.lab.machines import LAB, Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(2400)]      # it may have to build a Kubernetes
HOSTS = ("cp1", "w1")


@pytest.fixture(params=[release for release in RELEASES if release != LAB.kubernetes])
def empty(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, str]]:
    """Two empty nodes in an instance of their own, whose inventory names a release, and that release."""
    release = str(request.param)
    with apart("release", HOSTS) as lab:
        lab.file.write_text(lab.file.read_text(encoding="utf-8").replace(LAB.kubernetes, release), encoding="utf-8")
        shutil.copy(KNOWN / f"{release}.lock", lab.directory / "artifacts.lock")
        lab.run("artifacts", "build", timeout=2000)
        lab.run("lab", "up")
        yield lab, release


def test_a_release_comes_up_on_empty_nodes_and_a_second_up_changes_nothing(empty: tuple[Lab, str]) -> None:
    lab, release = empty
    lab.run("validate")
    lab.run("up", "--yes")
    seen = lab.json("status")
    assert seen["healthy"] and [(row["host"], row["kubelet"]) for row in seen["hosts"]] == [
        ("cp1", "Ready"), ("w1", "Ready")]
    assert json.loads(lab.kubectl("get", "--raw", "/version"))["gitVersion"] == f"v{release}"
    assert lab.kubectl("get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}") == (
        f"v{release} v{release}")
    assert f"etcd Version: {minor_of(release).beside['etcd']}\n" in lab.on("cp1", "etcd", "--version")
    assert lab.json("plan")["changes"] == []
