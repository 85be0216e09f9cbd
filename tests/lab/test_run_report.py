"""The page of a real run: every host's work and every gate, and nothing that must not be shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.conftest import NODES, Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def test_the_run_that_built_the_cluster_is_reported_with_every_host_and_gate(cluster: Lab, tmp_path: Path) -> None:
    done = [run for run in cluster.json("runs", "list")["runs"] if run["outcome"] == "done"]
    built = max(done, key=lambda run: int(run["changes"]))      # another may have been killed before it
    page = tmp_path / "report.html"
    cluster.run("runs", "report", built["id"], "--output", str(page))
    html = page.read_text(encoding="utf-8")
    lanes = re.findall(r'aria-label="(\w+): ([^"]*)"', html)      # a host has two where phases run beside one another
    for host in NODES:
        done_there = "; ".join(did for name, did in lanes if name == host)
        for work in ("network: ok", "gate of node: ok", "gate of network: ok", "gate of verify: ok"):
            assert work in done_there, f"{host}: {work}: {done_there}"
    assert "one etcd cluster of cp1, cp2, cp3 with one agreed leader" in html
    assert "PRIVATE KEY" not in html
    refused = cluster.run("runs", "diff", built["id"], built["id"], check=False)
    assert (refused.returncode, "the same run twice" in refused.stderr) == (64, True), refused.stderr
