"""An etcd member that lost its data: told, given its place by the commands that are told, and started by `up`."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from tests.lab.conftest import ROOT, Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(600)]
LOST = "cp2: its etcd member lost its data"


def pasted(lab: Lab, command: str) -> None:
    """Run a command that was told as it stands, with the program that this test runs in the place of its name."""
    words = shlex.split(command)
    assert words[0] == "kubewright"
    done = subprocess.run([*lab.argv()[:3], *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=120,
                          check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def ends_in_a_loop(lab: Lab) -> bool:
    shown = lab.on("cp2", "systemctl", "show", "-p", "NRestarts", "--value", "etcd.service")
    return int(shown) >= 2


def test_a_member_that_lost_its_data_is_told_given_its_place_as_told_and_has_all_data_again(cluster: Lab) -> None:
    cluster.kubectl("create", "configmap", "of-before", "--from-literal=a=b")
    cluster.on("cp2", "sh", "-c", "rm -rf /var/lib/etcd/member && systemctl kill -s KILL etcd")
    until(lambda: ends_in_a_loop(cluster), 60, "etcd has started empty and ended again")
    plan = cluster.run("plan").stdout
    assert LOST in plan and "unit etcd.service" not in plan
    status = cluster.run("status", check=False)
    assert status.returncode == 13 and LOST in status.stdout + status.stderr
    refused = cluster.run("up", "--yes", check=False)
    assert refused.returncode == 15 and LOST in refused.stderr, refused.stderr
    (lost,) = cluster.json("plan")["lost"]
    assert [c.split(" -- ")[1].split()[0] for c in lost["cure"]] == ["systemctl", "mv", "etcdctl", "etcdctl"]
    for command in lost["cure"]:
        pasted(cluster, command)
    assert "+ unit etcd.service" in cluster.run("plan").stdout
    cluster.run("up", "--yes")
    cluster.run("ready", "--timeout", "60")
    keys = cluster.on("cp2", "sh", "-c", "etcdctl --endpoints=https://127.0.0.1:2379 "
                      "--cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt "
                      "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key get --keys-only --consistency=s "
                      "/registry/configmaps/default/of-before")
    assert "of-before" in keys, "read from cp2's own data"
    cluster.kubectl("delete", "configmap", "of-before")
    cluster.on("cp2", "rm", "-rf", "/var/lib/etcd/member.lost")
    assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
