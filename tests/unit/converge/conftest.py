"""Hosts for the runner: one sshd at several loopback addresses, with a `python3` that stands in for the applier."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioner.model.cluster import Cluster
from provisioner.model.inventory import Inventory
from tests.fakes.sshd import SSHD, Sshd, run_sshd

ADDRESSES = {"cp1": "127.0.0.1", "cp2": "127.0.0.2", "w1": "127.0.0.3", "w2": "127.0.0.4", "w3": "127.0.0.5",
             "w4": "127.0.0.6"}

# Reads what the real bootstrap reads, keeps the request, and does what the step's name says.
APPLIER = """#!{python} -IS
import json, os, sys, time
stream = sys.stdin.buffer
stream.read(int(stream.readline()))
request = json.loads(stream.read())
step = request['step']
with open('{seen}/' + step, 'w') as file:
    json.dump(request | {{'argv': sys.argv[1:]}}, file)
if step.startswith('sleep'):
    time.sleep(30)
if step.startswith('fault'):
    sys.exit('applier: the disk is full')
status = step.partition('-')[0]
result = {{'done': 'would' if request['check'] else 'done'}}.get(status, status)
print(json.dumps({{'step': step, 'status': status, 'changes': [
    {{'kind': c['kind'], 'path': c['path'], 'result': result, 'detail': ''}} for c in request['changes']]}}))
sys.exit({{'stale': 16, 'fenced': 14}}.get(status, 0))
"""


@dataclass
class Rig:
    """The hosts, their inventory, and what the stand-in saw."""

    sshd: Sshd
    inventory: Inventory
    directory: Path

    def bundle(self, **steps: str) -> Path:
        """Write a bundle per host, and return their directory."""
        bundles = self.directory / "bundles"
        bundles.mkdir(exist_ok=True)
        for host, step in steps.items():
            changes = [{"kind": "file", "path": "/etc/a", "action": "add", "content": "Y2FuYXJ5LXNlY3JldA=="}]
            (bundles / f"{host}.json").write_text(json.dumps({"step": step, "changes": changes}))
        return bundles

    def saw(self, step: str) -> dict[str, Any] | None:
        file = self.directory / "seen" / step
        return json.loads(file.read_text()) if file.exists() and file.stat().st_size else None


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with rig_in(tmp_path) as made:
        yield made


@contextmanager
def rig_in(tmp_path: Path, name: str = "a rig") -> Iterator[Rig]:     # a blank: ssh splits option values once more
    """Make a rig in an empty directory, with an sshd of its own."""
    if not SSHD.exists():
        pytest.skip("openssh-server is not installed")
    directory = tmp_path / name
    (directory / "seen").mkdir(parents=True)
    binaries = tmp_path / "bin"             # none here: sshd splits as well
    binaries.mkdir()
    (tmp_path / "seen").symlink_to(directory / "seen")
    fake = binaries / "python3"
    fake.write_text(APPLIER.format(python=os.path.realpath(sys.executable), seen=tmp_path / "seen"))
    fake.chmod(0o755)
    # Not SetEnv: root's shell may set PATH again, and the real applier must never run on this machine.
    force = f'ForceCommand PATH={binaries}:/usr/bin:/bin exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
    with run_sshd(tmp_path / "sshd", force, addresses=tuple(ADDRESSES.values())) as sshd:
        (directory / "known_hosts").write_text("".join(sshd.pinned_at(a) for a in ADDRESSES.values()))
        key = sshd.key.rename(directory / "id_ed25519")
        cluster = Cluster.model_validate({
            "version": 1, "cluster": "rig", "kubernetes": "1.36.3", "network": {"hosts": ["127.0.0.0/8"]}, "api": {},
            "ssh": {"user": getpass.getuser(), "port": sshd.port, "become": "none", "key": str(key)},
            "hosts": {name: {"address": a, "roles": []} for name, a in ADDRESSES.items()}})
        yield Rig(sshd, Inventory(path=directory, cluster=cluster, file=directory / "cluster.yaml"), directory)
