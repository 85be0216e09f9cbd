"""`kubewright logs` on real nodes: what it shows, and that nothing of it stays on a host."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

TALKER = "kubewright-test-talker"
# Says `second` when it is told to, and is then quiet: a follower of it hears nothing more.
PROGRAM = "rm -f /run/talk; echo first; until [ -e /run/talk ]; do sleep 0.1; done; echo second; exec sleep 1000"


@pytest.fixture
def talker(empty_lab: Lab) -> Iterator[Lab]:
    empty_lab.on("w1", "systemd-run", "--collect", f"--unit={TALKER}", "sh", "-c", PROGRAM)
    yield empty_lab
    empty_lab.on("w1", "systemctl", "stop", TALKER)


def test_a_unit_of_ours_is_found_by_its_short_name_and_a_mistyped_one_is_answered_with_ours(cluster: Lab) -> None:
    lines = cluster.run("logs", "cp1", "etcd", "-n", "3").stdout.splitlines()
    assert len([line for line in lines if re.search(r" (etcd|systemd)\[", line)]) == 3
    documents = cluster.run("-o", "json", "logs", "cp1", "etcd", "-n", "50").stdout.splitlines()
    rows = [json.loads(line) for line in documents]
    assert [(row["schema_version"], row["host"]) for row in rows] == [(1, "cp1")] * 50
    processes = {row["process"] for row in rows}
    assert "etcd" in processes and processes <= {"etcd", "systemd"}, "what it says, and what is said of it"
    done = cluster.run("logs", "cp1", "ectd", check=False)
    assert done.returncode == 64
    assert "units of ours there: containerd etcd flanneld haproxy" in done.stderr
    assert f"hint: kubewright -i {cluster.directory} logs cp1 etcd" in done.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_what_is_followed_comes_and_leaves_no_process_on_the_host(talker: Lab, end: signal.Signals) -> None:
    process = talker.start("logs", "w1", TALKER, "--follow")
    assert process.stdout is not None
    try:
        assert any(line.endswith("]: first\n") for line in process.stdout)
        assert journal_readers(talker) == 1
        talker.on("w1", "touch", "/run/talk")
        assert any(line.endswith("]: second\n") for line in process.stdout)
    finally:
        os.killpg(process.pid, end)
    assert process.wait(10) == (0 if end == signal.SIGINT else -end)
    until(lambda: journal_readers(talker) == 0, 10, "no journalctl is left on w1")


def journal_readers(lab: Lab) -> int:
    return len(lab.on("w1", "pgrep", "-x", "journalctl", check=False).split())
