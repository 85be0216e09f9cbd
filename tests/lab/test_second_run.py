"""A second `up` changes nothing; what was changed by hand is exactly what `plan` shows and `up` repairs."""

from __future__ import annotations

import pytest

from tests.lab.conftest import Lab, managed_mtimes, unit_ids, until
from tests.lab.walk.killing import playbooks

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


def test_a_second_up_changes_nothing_and_restarts_nothing(cluster: Lab) -> None:
    units, files = unit_ids(cluster), managed_mtimes(cluster)
    done = cluster.run("up", "--yes")
    assert "No changes." in done.stderr
    assert unit_ids(cluster) == units
    assert managed_mtimes(cluster) == files


def test_plan_right_after_up_says_no_changes(cluster: Lab) -> None:
    assert cluster.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")


@pytest.mark.full        # one of several differences in test_plan
def test_a_file_changed_by_hand_is_exactly_what_plan_shows_and_up_repairs(cluster: Lab) -> None:
    path = "/var/lib/kubelet/config.yaml"
    before = cluster.on("w1", "cat", path)
    cluster.on("w1", "sed", "-i", "s/maxPods: .*/maxPods: 42/;$a # by hand", path)
    try:
        (found,) = cluster.json("plan")["changes"]      # nobody has read it: nothing has to restart
        assert (found["host"], found["kind"], found["path"], found["action"]) == ("w1", "file", path, "change")
        assert "by hand" in found["diff"]
        units = unit_ids(cluster, ("cp1", "w1", "w2"))
    finally:
        cluster.run("up", "--yes")
    assert cluster.on("w1", "cat", path) == before
    assert unit_ids(cluster, ("cp1", "w1", "w2")) == units
    assert cluster.json("plan")["changes"] == []


def starts_of(lab: Lab, host: str, unit: str) -> int:
    return lab.on(host, "journalctl", "-u", unit, "--no-pager", "-o", "cat").count(f"Started {unit}")


@pytest.mark.full        # killed at other moments in test_killed_up and test_killed_change
def test_killed_between_write_and_restart_the_rerun_restarts_exactly_once(cluster: Lab) -> None:
    """On one node stands a systemctl that kills whoever asks it to restart: the bytes are new, the unit is old."""
    trap = "/usr/local/sbin/systemctl"
    script = ("#!/bin/sh\ncase \"$*\" in *restart*) : > /run/trapped; kill -9 $PPID; exit 1;; esac\n"
              "exec /usr/bin/systemctl \"$@\"\n")
    text = cluster.file.read_text(encoding="utf-8")
    line = "  w2: {address: 10.77.0.22, roles: [worker]}"
    assert line in text
    starts = starts_of(cluster, "w2", "kubelet.service")
    cluster.on("w2", "sh", "-c", f"printf '%s' '{script}' > {trap} && chmod 755 {trap}")
    changed = line[:-1] + ", config: {kubelet: {registryPullQPS: 6}}}"
    cluster.file.write_text(text.replace(line, changed), encoding="utf-8")
    process = cluster.start("up", "--yes")
    try:
        until(lambda: cluster.on("w2", "ls", "/run/trapped", check=False), 120, "the step reached its restart")
    finally:
        process.kill()
        process.wait(30)
        try:
            until(lambda: not playbooks(cluster), 30, "what would start the step again has ended")
        finally:
            cluster.on("w2", "rm", "-f", trap, "/run/trapped")
    assert starts_of(cluster, "w2", "kubelet.service") == starts
    assert "registryPullQPS: 6" in cluster.on("w2", "cat", "/var/lib/kubelet/config.yaml")
    cluster.run("up", "--yes")
    assert starts_of(cluster, "w2", "kubelet.service") == starts + 1
    assert cluster.json("plan")["changes"] == []
    cluster.file.write_text(text, encoding="utf-8")
    cluster.run("up", "--yes")
