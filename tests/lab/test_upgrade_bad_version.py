"""Versions that do not work, each in its own way: the first host alone meets them, and is back before anybody notices.

What exits at once is in test_upgrade.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pytest

from tests.lab import figures
from tests.lab.bad_programs import NEVER_READY, pin, pin_another
from tests.lab.conftest import Lab
from tests.lab.load import VIP, Load, lost_writes, reads, writes
from tests.lab.newer import FROM, TO, ask_for, older
from tests.lab.voters import etcdctl

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(1800)]

OLD_ETCD, NEW_ETCD = "3.6.16", "3.7.3"
MEMBERS = ("cp1", "cp2", "cp3")


class Bad(NamedTuple):
    """A program that does not work, whose phase it is, what the members run afterwards, and what the run has to say."""

    name: str
    spoil: Callable[[Lab], None]
    phase: str
    etcd: str
    says: str = ""


# All members have moved when the first of these is met, and stay.
CASES = {
    "a server that is never ready": Bad(
        "kube-apiserver", partial(pin, name="kube-apiserver", text=NEVER_READY), "control-plane", NEW_ETCD),
    "a server that refuses its flags": Bad(
        "kube-apiserver", partial(pin_another, name="kube-apiserver", other="kube-scheduler"), "control-plane",
        NEW_ETCD, says="unknown flag"),
    "a kubelet that is never ready": Bad("kubelet", partial(pin, name="kubelet", text=NEVER_READY), "node", NEW_ETCD),
}


@pytest.fixture
def asked(cluster: Lab) -> Iterator[Lab]:
    """A cluster of the older version that serves, its inventory and lock naming the newer."""
    with older(cluster):
        ask_for(cluster, TO)
        yield cluster


def test_a_member_that_does_not_work_is_met_here_before_any_host_is_touched(asked: Lab) -> None:
    pin(asked, "etcd", NEVER_READY)
    done = asked.run("upgrade", "--no-soak", "--yes", check=False, timeout=900)
    print(done.stderr)
    assert done.returncode == 15 and "does not serve" in done.stderr and "nothing was changed" in done.stderr
    assert "the etcd that artifacts.lock pins" in done.stderr
    assert {etcdctl(asked, host, "endpoint", "status")[0]["Status"]["version"] for host in MEMBERS} == {OLD_ETCD}


def test_whatever_does_not_work_goes_back_on_its_first_host_and_nobody_notices(asked: Lab) -> None:
    lock = asked.directory / "artifacts.lock"
    good, faults = lock.read_bytes(), {}
    with Load(asked, "w1", [reads(VIP)]) as read, Load(asked, "cp2", [writes(0)]) as write:
        read.run_until(3.0)
        for what, case in CASES.items():
            lock.write_bytes(good)
            case.spoil(asked)
            faults[what] = met(asked, what, case)
        lock.write_bytes(good)
        asked.run("upgrade", "--no-soak", "--yes", timeout=900)
        read.run_until(read.seconds() + 3.0)
    failed = [a for load in (read, write) for a in load.attempts if a.why]
    lost = lost_writes(asked, write.attempts)
    figures.record("failed attempts while three bad versions are tried", [float(len(failed))], unit="failed", limit=0,
                   attempts=len(read.attempts) + len(write.attempts), lost=len(lost),
                   failures=[vars(a) for a in failed][:50])
    assert {what: wrong for what, wrong in faults.items() if wrong} == {}
    assert asked.json("plan")["changes"] == [] and kubelets(asked) == {f"v{TO}"}
    assert not failed and not lost, (failed[:10], lost)


def met(lab: Lab, what: str, case: Bad) -> list[str]:
    """Let an upgrade meet it, and return what must not be so afterwards."""
    began = time.time()
    done = lab.run("upgrade", "--no-soak", "--yes", check=False, timeout=900)
    print(done.stderr)
    events = lab.events(began)
    backs = [e for e in events if e["type"] == "put-back"]
    if len(backs) != 1:
        return [f"{len(backs)} hosts went back, exit {done.returncode}"]
    (back,) = backs
    gate = next(e for e in events if e["type"] == "gate" and e["status"] == "failed" and e.get("host") == back["host"])
    seconds = back["t"] - gate["t"]
    figures.record(f"{what}: seconds from its failed gate to the old one, proved", [seconds], unit="s", limit=60)
    ran = {etcdctl(lab, host, "endpoint", "status")[0]["Status"]["version"] for host in MEMBERS}
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    return [words for wrong, words in (
        ((done.returncode, back["status"], back["phase"]) != (13, "ok", case.phase), f"{done.returncode}: {back}"),
        ("still fine" not in done.stderr or "kubewright" not in done.stderr, done.stderr),
        (case.says not in done.stderr, f"nothing of {case.says!r}: {done.stderr}"),
        (seconds > 60, f"back after {seconds} s"),
        (ran != {case.etcd}, f"members run {ran}"),
        (kubelets(lab) != {f"v{FROM}"}, f"kubelets are {kubelets(lab)}"),
        (any(n["spec"].get("unschedulable") for n in nodes), "a node takes no Pods")) if wrong]


def kubelets(lab: Lab) -> set[str]:
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    return {n["status"]["nodeInfo"]["kubeletVersion"] for n in nodes}
