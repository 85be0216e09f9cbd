"""What leaves a host: everything that `up` put there, and nothing else, however far it had come; then `up` works again.

A node that was reset is compared with a fresh one of the same name: files, packages, users, units, mounts, links,
routes, tables of nftables, network namespaces and kernel settings.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from provisioner.artifacts.cache import Cache
from tests.lab.conftest import Lab, until
from tests.lab.figures import record
from tests.lab.footprint import Footprint, differences, footprint
from tests.lab.walk.killing import Up
from tests.lab.witness import Api, Attempts, Holders, admin

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]
BALANCERS = ("cp1", "cp2", "cp3")
EDITED = "/etc/crictl.yaml"
KILLED_AFTER = (0.0, 1.0, 3.0, 6.0, 10.0, 15.0)     # seconds into the phase
STORE = "/opt/kubewright/crictl"


def footprints(lab: Lab, *hosts: str) -> dict[str, Footprint]:
    return {host: footprint(lab, host) for host in hosts or lab.inventory.cluster.hosts}


def same_as_fresh(lab: Lab, after: dict[str, Footprint]) -> None:
    """Replace the nodes by fresh ones, and see that they differ in nothing."""
    lab.run("lab", "reset", *after)
    found = {host: differences(footprint(lab, host), was) for host, was in after.items()}
    assert not any(found.values()), found


@pytest.fixture
def inventory(cluster: Lab) -> Iterator[str]:
    """The inventory as it was; the next test gets the cluster that belongs to it."""
    text = cluster.file.read_text(encoding="utf-8")
    yield text
    cluster.file.write_text(text, encoding="utf-8")


@pytest.mark.changes
@pytest.mark.bears_changes
def test_a_worker_that_was_reset_is_as_a_fresh_machine_and_joins_again(cluster: Lab) -> None:
    cluster.on("w2", "sh", "-c", f"echo '# by hand' >> {EDITED}")
    began = time.monotonic()
    done = cluster.run("reset", "w2", "--yes")
    record("reset of one worker", [time.monotonic() - began], unit="s")
    assert f"w2:{EDITED}" in done.stderr and "somebody else has changed it" in done.stderr
    assert "# by hand" in cluster.on("w2", "cat", EDITED)
    assert "w2" not in cluster.kubectl("get", "nodes", "-o", "name")
    cluster.on("w2", "rm", EDITED)
    assert "Nothing of ours is on w2" in cluster.run("reset", "w2", "--yes").stderr
    same_as_fresh(cluster, footprints(cluster, "w2"))
    cluster.run("up", "--yes")
    assert "No changes." in cluster.run("plan").stdout
    assert "w2" in cluster.kubectl("get", "nodes", "-o", "name")


@pytest.mark.dirties
@pytest.mark.full
def test_a_whole_cluster_that_was_reset_leaves_fresh_machines_and_is_built_again(cluster: Lab) -> None:
    refused = cluster.run("reset", "cp1", "cp2", "--yes", check=False)
    assert refused.returncode == 15 and "quorum" in refused.stderr
    began = time.monotonic()
    cluster.run("reset", "--yes")
    record("reset of five nodes", [time.monotonic() - began], unit="s")
    after = footprints(cluster)
    cluster.run("up", "--yes")
    cluster.forget_credentials()
    assert "No changes." in cluster.run("plan").stdout
    same_as_fresh(cluster, after)


@pytest.mark.dirties
@pytest.mark.full
@pytest.mark.parametrize("phase", ["prepare", "runtime", "node"])
def test_what_a_killed_up_had_built_is_taken_off_again(single: Lab, phase: str) -> None:
    single.reset()
    up = Up(single)
    try:
        up.wait_for("phase-start", phase)
        time.sleep(4.0)
    finally:
        up.kill()
    single.run("reset", "--yes")
    same_as_fresh(single, footprints(single))


@pytest.mark.dirties
@pytest.mark.full
def test_a_reset_that_is_killed_again_and_again_is_ended_by_a_plain_rerun(single: Lab) -> None:
    for number, seconds in enumerate(KILLED_AFTER):
        killed_reset(single, seconds, with_steps=number % 2 == 1)
    single.run("reset", "--yes")
    same_as_fresh(single, footprints(single))


def killed_reset(lab: Lab, seconds: float, *, with_steps: bool) -> None:
    """Kill a reset so long after it began to take off; with its steps on the hosts, or these go on."""
    since = time.time()
    run = lab.start("reset", "--yes")
    try:
        until(lambda: run.poll() is not None or any(e["type"] == "phase-start" for e in lab.events(since)), 300,
              "the reset begins to take off")
        time.sleep(seconds)
    finally:
        run.kill()
        run.wait()
    if with_steps:
        for host in lab.inventory.cluster.hosts:
            lab.on(host, "systemctl", "kill", "--signal=SIGKILL", "kubewright-step-*", check=False)


@pytest.mark.dirties
@pytest.mark.full
def test_the_store_keeps_two_versions_and_the_plan_shows_what_goes(single: Lab) -> None:
    lock = single.directory / "artifacts.lock"
    text = lock.read_text(encoding="utf-8")
    first, planned = stored(single), ""
    try:
        for number in range(3):
            lock.write_text(other_crictl(single, text, number), encoding="utf-8")
            planned = single.run("plan").stdout
            single.run("up", "--yes")
        assert len(stored(single)) == 2
        assert not set(first) & set(stored(single))
        assert f"- {STORE}/" in planned and "MB" in planned
        assert "No changes." in single.run("plan").stdout
    finally:
        lock.write_text(text, encoding="utf-8")


def stored(lab: Lab) -> list[str]:
    return lab.on("w2", "ls", STORE).split()


def other_crictl(lab: Lab, text: str, number: int) -> str:
    """Return artifacts.lock with a crictl of other bytes."""
    program = lab.directory / "crictl"
    program.write_text(f"#!/bin/sh\n# {number}\n", encoding="utf-8")
    kept = Cache().put(program, lambda copy: None)
    changed, count = re.subn(r"(- name: crictl\n(?:  .*\n)*?  sha256: )\w+\n  size: \d+\n",
                             rf"\g<1>{kept.sha256}\n  size: {kept.size}\n", text)
    assert count == 1
    return changed


@pytest.mark.dirties
@pytest.mark.full
def test_a_load_balancer_that_is_none_any_more_gives_the_vip_to_exactly_one(cluster: Lab, inventory: str) -> None:
    api = cluster.inventory.cluster.api
    with Holders(cluster, BALANCERS) as holders:
        leaver = holders.one()
        line = re.search(rf"^  {leaver}: .*$", inventory, re.MULTILINE)
        assert line
        cluster.file.write_text(inventory.replace(line[0], line[0].replace(", load-balancer", "")), encoding="utf-8")
        refused = cluster.run("up", "--yes", check=False)
        assert refused.returncode == 15 and "role-removed" in refused.stderr
        began = time.monotonic()
        with Attempts(Api(cluster, admin(cluster), None, str(api.vip), api.port)) as answers:
            done: subprocess.CompletedProcess[str] = cluster.run("up", "--yes", "--allow", "role-removed")
            time.sleep(4.0)
            ended = time.monotonic()
        samples = {began + step / 100: holders.at(began + step / 100) for step in range(int((ended - began) * 100))}
    print(done.stderr)
    heard = next(moment for moment, found in samples.items() if found)      # of the holder, for the first time
    nobody = sum(moment >= heard and not found for moment, found in samples.items()) / 100
    record("the VIP had no holder while it was given up", [nobody], unit="s", limit=0.1)
    assert {len(found) for found in samples.values()} <= {0, 1}, "two held it"
    assert nobody <= 0.1, f"without a holder for {nobody:.2f} s"
    last = list(samples.values())[-1]
    assert leaver not in last and len(last) == 1
    assert answers.failed(began) == []
    said = re.search(r"prober .* (\d+) of \d+ attempts failed, .* 0 of \d+ acknowledged writes lost", done.stderr)
    assert said
    record("attempts of the prober that failed while the VIP was given up", [int(said[1])], unit="", limit=0)
    assert int(said[1]) == 0
    assert "kubewright-handover" not in cluster.on(leaver, "nft", "list", "tables")
    assert cluster.on(leaver, "systemctl", "is-enabled", "keepalived", check=False).strip() in ("", "not-found")
    assert "No changes." in cluster.run("plan").stdout


@pytest.mark.dirties
@pytest.mark.full
def test_a_worker_whose_role_is_taken_runs_nothing_and_is_no_node(cluster: Lab, inventory: str) -> None:
    cluster.file.write_text(re.sub(r"(  w2: .*roles: )\[worker\]", r"\1[]", inventory), encoding="utf-8")
    cluster.run("up", "--yes", "--allow", "role-removed")
    assert "w2" not in cluster.kubectl("get", "nodes", "-o", "name")
    units = cluster.on("w2", "systemctl", "list-unit-files", "--no-legend", "--no-pager")
    assert not re.search(r"kubelet|containerd|kube-proxy|flanneld", units)
    assert cluster.on("w2", "ls", "/var/lib/containerd", "/var/lib/kubelet", check=False).split() == [
        "/var/lib/containerd:", "/var/lib/kubelet:"]
    assert "No changes." in cluster.run("plan").stdout
