"""Which machines are hosts, as a real API server has it: who may make a Node, and who may have the VIP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.compile.load_balancer import HOSTS, IS_A_HOST
from provisioner.compile.render import render
from provisioner.model.desired import KubeObject
from provisioner.operate.access import Access
from provisioner.operate.kube import Kube, compare_objects, make_changes
from tests.fakes.sshd import free_ports
from tests.real.binaries import until
from tests.unit.compile.compile_fixture import compiled

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(120)]
OURS = [o for o in compiled().objects if o.body["metadata"]["name"] == HOSTS]


@pytest.fixture
def listed(api: Access) -> Iterator[Access]:
    """An API server with the list of hosts (cp1 to cp3, w1, w2) and what goes by it."""
    kube = Kube(api)
    make_changes(kube, compare_objects(kube, OURS))
    assert {o.body["kind"] for o in OURS} == {
        "ConfigMap", "Role", "RoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    yield api
    for one in OURS:        # others find the server as it was
        kube.delete(one.body)
    kube.close()


def joins(access: Access, name: str) -> str:
    """Let the kubelet of a machine make its Node and return what the server says; for a dry run, nothing stays."""
    node = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    done = subprocess.run(
        ["curl", "--silent", "--cacert", str(access.ca_file), "--cert", str(access.cert_file), "--key",
         str(access.key_file), "--header", "Content-Type: application/json",
         "--header", f"Impersonate-User: system:node:{name}", "--header", "Impersonate-Group: system:nodes",
         "--data", node, f"https://127.0.0.1:{access.address[1]}/api/v1/nodes?dryRun=All"],
        capture_output=True, text=True, timeout=30, check=True)
    answer = json.loads(done.stdout)
    return f"{answer['reason']}: {answer['message']}" if "message" in answer else str(answer["kind"])


def test_a_kubelet_may_make_the_node_of_a_host_and_of_no_other_machine(listed: Access) -> None:
    until(lambda: "Node cp9: no host of this cluster" in joins(listed, "cp9"), 30, "the policy is in force")
    assert joins(listed, "cp9").startswith("Invalid: "), "what a kubelet logs with its reason"
    for host in ("cp1", "w2"):
        assert joins(listed, host) == "Node"


def may_have_the_vip(tmp_path: Path, access: Access, name: str, *ports: int, of: str = HOSTS) -> bool:
    """Run the program that keepalived runs on a machine of this name, which asks API servers at these ports."""
    program = tmp_path / "is-a-host"
    program.write_text(render(
        IS_A_HOST, name=name, list=of, ca=access.ca_file, health=access.cert_file, health_key=access.key_file,
        servers=[f"127.0.0.1:{port}" for port in ports]), encoding="utf-8")
    return subprocess.run(["sh", str(program)], timeout=30, check=False).returncode == 0


def test_a_machine_that_is_no_host_may_not_have_the_vip_and_what_nobody_answers_keeps_it_from_none(
        listed: Access, tmp_path: Path) -> None:
    port, (dead,) = listed.address[1], free_ports(1)
    assert may_have_the_vip(tmp_path, listed, "cp1", port)
    assert not may_have_the_vip(tmp_path, listed, "cp9", port)
    assert not may_have_the_vip(tmp_path, listed, "cp", port), "a part of a name is no name"
    assert not may_have_the_vip(tmp_path, listed, "cp9", dead, port)
    assert may_have_the_vip(tmp_path, listed, "cp9", dead), "nobody says no"
    assert may_have_the_vip(tmp_path, listed, "cp9", port, of="never-made"), "there is no list yet"


def test_who_is_a_host_is_an_object_of_the_phase_that_goes_before_the_kubelets() -> None:
    assert {o.phase for o in OURS} == {"access"} and all(isinstance(o, KubeObject) for o in OURS)
