"""Two minors in one command, while clients ask and write: a watch that goes on, and kubectls of two minors."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Self

import pytest

from provisioner.artifacts.lockfile import load_lock
from provisioner.artifacts.supply import KNOWN, held
from provisioner.lab.network import in_network
from tests.lab import figures
from tests.lab.informer import Watch
from tests.lab.load import LEDGER, VIP, Load, lost_writes, reads, writes
from tests.lab.machines import Lab
from tests.lab.newer import BUILDING, FROM, OLDEST, TO, ask_for
from tests.lab.witness import admin

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(BUILDING + 2400)]

USES = "uses"       # a namespace for kubectls


class Kubectl:
    """A kubectl of one release that applies an object and reads it, again and again, from entering to leaving."""

    def __init__(self, lab: Lab, release: str) -> None:
        lock = load_lock(KNOWN / f"{release}.lock")
        self.program = lab.directory / f"kubectl-{release}"
        shutil.copy(held(lock)[lock.get("kubectl", "amd64").sha256], self.program)
        self.program.chmod(0o755)
        self.release, self.failures, self.uses = release, list[str](), 0
        self._lab, self._over = lab, threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        self.program.unlink()

    def _go_on(self) -> None:
        while not self._over.wait(2.0):
            self.uses += 1
            wanted = {"n": str(self.uses)}
            name = f"by-{self.release.replace('.', '-')}"
            applied = self._call("apply", "-f", "-", given=json.dumps({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": wanted}))
            read = self._call("get", "configmap", name, "-o", "jsonpath={.data}") if applied is not None else None
            if read is not None and json.loads(read) != wanted:
                self.failures.append(f"{self.uses}: wrote {wanted}, read {read}")

    def _call(self, *words: str, given: str = "") -> str | None:
        """Return what it printed, None where it failed."""
        call = in_network(self._lab.instance, (str(self.program), "--kubeconfig", str(
            self._lab.directory / "kubeconfig"), "--namespace", USES, *words))
        done = subprocess.run(call, input=given, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            self.failures.append(f"{self.uses}: {words[0]}: {done.stderr.strip()[-300:]}")
        return None if done.returncode else done.stdout


@pytest.fixture
def oldest(empty_lab: Lab) -> Iterator[Lab]:
    """A cluster of the oldest version that can be had, on nodes that are empty again afterwards."""
    lock, text = (empty_lab.directory / "artifacts.lock").read_bytes(), empty_lab.file.read_text(encoding="utf-8")
    empty_lab.reset()
    ask_for(empty_lab, OLDEST)
    empty_lab.run("up", "--yes", timeout=900)
    for namespace in (LEDGER, USES):
        empty_lab.kubectl("create", "namespace", namespace)
    yield empty_lab
    (empty_lab.directory / "artifacts.lock").write_bytes(lock)
    empty_lab.file.write_text(text, encoding="utf-8")
    (empty_lab.directory / "kubectl").unlink(missing_ok=True)
    empty_lab.reset()


def test_two_minors_are_one_command_and_no_client_notices(oldest: Lab) -> None:
    credentials = admin(oldest)
    ask_for(oldest, TO, before=OLDEST)
    plan = oldest.run("upgrade", "--no-soak", "--plan").stdout
    print(plan)
    assert f"1 of 2: kube-apiserver {OLDEST} → {FROM}" in plan and "2 of 2: etcd 3.6.16 → 3.7.3" in plan
    with ExitStack() as stack:
        # The version skew policy lets a kubectl be one minor off: one of 1.36 may go the whole way, and the older one
        # until the first API server is of 1.37. It is asked throughout, for people do.
        kubectls = [stack.enter_context(Kubectl(oldest, release)) for release in (OLDEST, FROM)]
        watch = stack.enter_context(Watch(oldest, credentials))
        read = stack.enter_context(Load(oldest, "w1", [reads(VIP)]))
        write = stack.enter_context(Load(oldest, "cp1", [writes(0)]))
        read.run_until(3.0)
        began = time.time()
        print(oldest.run("upgrade", "--no-soak", "--yes", timeout=1500).stderr)
        seconds = time.time() - began
        read.run_until(read.seconds() + 3.0)
    attempts = [a for load in (read, write) for a in load.attempts]
    failed, lost = [a for a in attempts if a.why], lost_writes(oldest, write.attempts)
    unseen = {f"n{a.number}" for a in write.attempts if not a.why} - set(watch.seen)
    drains = [o["reason"] for e in oldest.events(began) if e["type"] == "changed"
              for o in (e.get("data") or {}).get("objects", ()) if "is drained" in o["reason"]]
    figures.record("failed attempts over two minors in one command", [float(len(failed))], unit="failed", limit=0,
                   attempts=len(attempts), lost=len(lost), unseen=len(unseen), reopened=watch.reopened,
                   seconds=seconds, drains=len(drains), kubectl={k.release: [k.uses, k.failures] for k in kubectls},
                   failures=[vars(a) for a in failed][:50])
    nodes = json.loads(oldest.kubectl("get", "nodes", "-o", "json"))["items"]
    assert {n["status"]["nodeInfo"]["kubeletVersion"] for n in nodes} == {f"v{TO}"} and len(drains) == len(nodes)
    assert oldest.json("plan")["changes"] == [] and oldest.json("status")["healthy"]
    assert not failed and not lost, (failed[:10], lost)
    assert not unseen and watch.expired == 0 and not watch.disordered
    assert all(k.uses > 10 and not k.failures for k in kubectls), [k.failures for k in kubectls]
