"""The commands of docs/tutorials/first-lab-cluster.md, in its order, in one shell, on the lab of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.test_tutorials import blocks
from tests.lab.machines import ROOT, Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(900), pytest.mark.dirties]
PAGE = ROOT / "docs" / "tutorials" / "first-lab-cluster.md"
# What a reader does beside typing: to see an address on the screen, to say yes.
BY_HAND = {"CLUSTER-IP": "$(k get service web -o jsonpath={.spec.clusterIP})",
           "kubewright up\n": "kubewright up --yes\n", "export KUBEWRIGHT_INVENTORY=inventories/lab\n": "",
           "kubewright lab ssh w1": "kubewright lab ssh w1 < /dev/null"}
# A Service's address and the metrics take a moment to be true everywhere.
SOON = re.compile(r"^(k top .*|kubewright lab exec w2 -- curl .*)$", re.MULTILINE)


def script() -> str:
    """Return the page's blocks as one script; each is told by a line before it, so that a failure names its place."""
    text = "".join(f"echo '== block {number}'\n{block}" for number, (how, _, block) in enumerate(blocks(PAGE))
                   if how == "run by")
    for said, typed in BY_HAND.items():
        assert said in text, f"{said!r} is not on the page any more"
        text = text.replace(said, typed)
    return "set -euo pipefail\n" + SOON.sub(r"again \1", text)


AGAIN = 'again() { for _ in $(seq 60); do "$@" && return; sleep 2; done; "$@"; }\n'


def test_the_tutorial_of_the_first_cluster_runs_as_it_stands(cluster: Lab, tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "kubewright").write_text(f'#!/bin/sh\nexec {sys.executable} -m provisioner.cli.main "$@"\n')
    (bin_ / "kubewright").chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", AGAIN + script()], cwd=ROOT, timeout=800, capture_output=True, text=True, check=False,
        env=os.environ | {"KUBEWRIGHT_INVENTORY": str(cluster.directory), "PATH": f"{bin_}:{os.environ['PATH']}"})
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert "podPidsLimit 5 → 4096" in done.stdout, "what was changed by hand is shown"
    assert done.stdout.rstrip().splitlines()[-1].startswith("No changes."), "the second plan of the page"
