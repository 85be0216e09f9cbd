"""`doctor` on real nodes: quiet where all is well, and each of what ails a cluster is named, with what to type."""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from provisioner.compile import etcd
from provisioner.compile import pki as table
from provisioner.lab import faults
from tests.lab import figures
from tests.lab.hostside import remote
from tests.lab.machines import CONTROL_PLANES, Lab, until
from tests.lab.needles import Needles
from tests.lab.reissue import age, keys_on_hosts, stored

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
ETCDCTL = " ".join(etcd.ETCDCTL)
PROMISE = 5.0           # seconds on a healthy cluster
BUSY = 20.0             # the same where others keep this machine's processors for themselves
DOWN = 30.0             # seconds when hosts or APIs are silent: each question has its own deadline
FULL = "/var/log"
LOOP = "[Service]\nExecStartPre=\nExecStart=\nExecStart=/bin/sh -c 'echo cannot open the door; exit 3'\nRestartSec=1\n"
DOOR = "/run/systemd/system/kube-scheduler.service.d"
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "on-w1", "namespace": "default"}, "spec": {
    "nodeName": "w1", "terminationGracePeriodSeconds": 0, "containers": [{
        "name": "it", "image": "kubewright.local/busybox:1", "imagePullPolicy": "Never",
        "command": ["sleep", "3000"]}]}}
Defect = Callable[[Lab], AbstractContextManager[None]]


def look(lab: Lab) -> tuple[int, dict[str, Any]]:
    """Return the exit code of `doctor` and what it says, as a program gets it."""
    done = lab.run("-o", "json", "doctor", check=False, timeout=120)
    return done.returncode, json.loads(done.stdout)


def named(seen: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what was found in the order in which it is told: how urgent, the host and what was seen."""
    return [(f["urgency"], f["host"], f["saw"]) for f in seen["findings"]]


def find(seen: dict[str, Any], host: str, words: str) -> dict[str, Any] | None:
    return next((f for f in seen["findings"] if f["host"] == host and words in f["saw"]), None)


def test_a_healthy_cluster_is_told_in_a_few_lines_within_five_seconds(cluster: Lab) -> None:
    until(lambda: cluster.run("status", check=False).returncode == 0, 120, "Pods of the test before are back")
    took: list[float] = []
    while not took or (took[-1] > PROMISE and len(took) < 3):
        began = time.monotonic()
        done = cluster.run("doctor", check=False)
        took.append(time.monotonic() - began)
        print(done.stdout, done.stderr)
        assert done.returncode == 0, done.stdout
    assert "3 of 3 members answer: one may fail" in done.stdout
    assert "3 of 3 servers in service in every HAProxy" in done.stdout
    assert "   healthy" in done.stdout.splitlines()[0] and "NOW " not in done.stdout
    figures.record("doctor of a healthy cluster", took, unit="s", limit=PROMISE)
    busy = os.getloadavg()[0] > 2 * (os.cpu_count() or 1)       # the work of others on this machine only adds to it
    assert min(took) <= (BUSY if busy else PROMISE), took


@pytest.mark.full
def test_a_bundle_holds_what_helps_and_no_secret_of_the_cluster(cluster: Lab, tmp_path: Path) -> None:
    needles = Needles(stored(cluster) | keys_on_hosts(cluster))
    file = tmp_path / "bundle.tar.gz"
    began = time.monotonic()
    done = cluster.run("doctor", "--bundle", str(file), check=False)
    took = time.monotonic() - began
    print(done.stderr)
    assert done.returncode == 0 and "MANIFEST.txt lists them" in done.stderr, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        tar.extractall(tmp_path, filter="data")
    inside = [p for p in tmp_path.rglob("*") if p.is_file() and p != file]
    print("\n".join(f"{p.stat().st_size:>9} {p.relative_to(tmp_path)}" for p in sorted(inside)))
    assert needles.in_files([*inside, file]) == {}
    names = {str(p.relative_to(next(tmp_path.glob("kubewright-*")))) for p in inside}
    for name in ("MANIFEST.txt", "doctor.json", "inventory/cluster.yaml", "hosts/cp1/journal/etcd.service.log",
                 "hosts/w1/files/var/lib/kubelet/config.yaml", "hosts/cp3/files/etc/systemd/system/etcd.service"):
        assert name in names, name
    journal = next(p for p in inside if p.name == "etcd.service.log").read_text(encoding="utf-8")
    assert "elected leader" in journal or "ready to serve" in journal, "what etcd said is in it, unmasked"
    figures.record("doctor --bundle of five hosts", [took], unit="s")


@contextmanager
def stopped(lab: Lab, host: str, unit: str) -> Iterator[None]:
    lab.on(host, "systemctl", "stop", unit)
    try:
        yield
    finally:
        lab.on(host, "systemctl", "start", "--no-block", unit)


def member(lab: Lab) -> AbstractContextManager[None]:
    return stopped(lab, "cp2", "etcd")


def hangs(lab: Lab) -> AbstractContextManager[None]:
    return faults.paused(lab.inventory, "cp3", "kube-apiserver")


def backend(lab: Lab) -> AbstractContextManager[None]:
    return stopped(lab, "cp1", "kube-apiserver")


def kubelet(lab: Lab) -> AbstractContextManager[None]:
    return stopped(lab, "w1", "kubelet")


@contextmanager
def nospace(lab: Lab) -> Iterator[None]:
    """Raise the alarm as a member does that has no room: over etcd's own API, at its JSON gateway."""
    keys = f"--cacert {table.ETCD_CA} --cert {table.ETCD_HEALTH.path} --key {table.ETCD_HEALTH.key_path}"
    script = (f"id=$({ETCDCTL} endpoint status -w fields | sed -n 's/^\"MemberID\" : //p'); "
              f"curl -sf {keys} https://127.0.0.1:2379/v3/maintenance/alarm "
              "-d '{\"action\": \"ACTIVATE\", \"memberID\": \"'$id'\", \"alarm\": \"NOSPACE\"}'")
    lab.on("cp3", "sh", "-c", script)
    try:
        yield
    finally:
        lab.on("cp3", "sh", "-c", f"{ETCDCTL} alarm disarm")


@contextmanager
def expires(lab: Lab) -> Iterator[None]:
    leaf = table.KUBELET_SERVING
    kept = {path: lab.on("w2", "cat", path).encode() for path in (leaf.path, leaf.key_path)}
    age(lab, "w2", leaf, dt.timedelta(days=5, hours=1))
    try:
        yield
    finally:
        for path, data in kept.items():
            remote(lab, "w2", ["sh", "-c", 'cat > "$1"', "write", path], data)


@contextmanager
def deaf(lab: Lab) -> Iterator[None]:
    rules = ("add table inet deaf; add chain inet deaf in { type filter hook input priority -10; }; "
             "add rule inet deaf in ip protocol 112 drop")
    for host in CONTROL_PLANES:
        lab.on(host, "nft", rules)
    try:
        yield
    finally:
        for host in CONTROL_PLANES:
            lab.on(host, "nft", "delete table inet deaf")


@contextmanager
def flushed(lab: Lab) -> Iterator[None]:
    """Take the rules away again and again: once would be mended by the watch over rules within seconds."""
    lab.on("w2", "systemd-run", "--unit=flusher", "--collect", "sh", "-c",
           "while sleep 0.2; do nft delete table ip kube-proxy; done")
    try:
        yield
    finally:
        lab.on("w2", "systemctl", "stop", "flusher")


@contextmanager
def full(lab: Lab) -> Iterator[None]:
    lab.on("w2", "sh", "-c", f"mount -t tmpfs -o size=8m tmpfs {FULL}; dd if=/dev/zero of={FULL}/filler bs=64k; true")
    try:
        yield
    finally:
        lab.on("w2", "umount", "-l", FULL)


@contextmanager
def loops(lab: Lab) -> Iterator[None]:
    """Let a scheduler end again and again: its unit is changed where a boot forgets it."""
    lab.on("cp2", "sh", "-c", f"mkdir -p {DOOR}; printf '%s' \"$1\" > {DOOR}/99-loop.conf; systemctl daemon-reload; "
           "systemctl restart --no-block kube-scheduler", "loop", LOOP)
    try:
        until(lambda: int(lab.on("cp2", "systemctl", "show", "-P", "NRestarts", "kube-scheduler")) >= 3, 60, "it loops")
        yield
    finally:
        lab.on("cp2", "sh", "-c", f"rm -r {DOOR}; systemctl daemon-reload; systemctl reset-failed kube-scheduler; "
               "systemctl restart --no-block kube-scheduler")


@contextmanager
def nameless(lab: Lab) -> Iterator[None]:
    """Let what Pods of w1 ask a name server be lost; the host's own questions go another way."""
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(POD))
    lab.kubectl("wait", "--for=condition=Ready", "pod/on-w1", "--timeout=60s")
    assert find(look(lab)[1], "w1", "") is None, "a Pod of w1 was asked, and reaches all"
    lab.on("w1", "nft", "add table ip nodns; add chain ip nodns in { type filter hook prerouting priority -300; }; "
           "add rule ip nodns in ip saddr 10.244.0.0/16 udp dport 53 drop")
    try:
        yield
    finally:
        lab.on("w1", "nft", "delete table ip nodns")
        lab.kubectl("delete", "pod", "on-w1", "--now", "--wait=false")


DEFECTS: list[tuple[Defect, str, str, str, str]] = [
    (member, "cp2", "etcd.service is not running", "at risk", "2 of 3 members answer: none may fail"),
    (hangs, "cp3", "API", "at risk", "The other API servers serve"),
    (nospace, "cp3", "etcd is out of space (alarm NOSPACE), every write is refused", "now", "No change is accepted"),
    (expires, "w2", f"{table.KUBELET_SERVING.path}: 5.0 days left", "soon", "`up` renews"),
    (deaf, "", "VIP 10.77.0.10 is on ", "now", "loses connections"),
    (backend, "cp1", "kube-apiserver.service is not running", "at risk", "the other control planes do it"),
    (kubelet, "w1", "kubelet.service is not running", "now", "no Pod is started"),
    (flushed, "w2", "packet rules of kube-proxy: ", "now", "do not reach Services"),
    (full, "w2", f"{FULL}: 100 % in use, 0.0 GB left", "now", "What writes there fails"),
    (loops, "cp2", "kube-scheduler.service does not stay up", "now", "comes and goes"),
    (nameless, "w1", "Pods there do not reach cluster DNS", "now", "Pods elsewhere do"),
]


@pytest.fixture
def mended(cluster: Lab) -> Iterator[Lab]:
    yield cluster
    cluster.run("ready", "--timeout", "120")


@pytest.mark.full
@pytest.mark.parametrize(("defect", "host", "words", "urgency", "means"), DEFECTS, ids=[d[0].__name__ for d in DEFECTS])
def test_what_ails_a_cluster_is_named_with_what_it_means_and_what_to_type(
        mended: Lab, defect: Defect, host: str, words: str, urgency: str, means: str) -> None:
    lab = mended
    with defect(lab):
        until(lambda: find(look(lab)[1], host, words), 60, f"{words} is named", interval=1.0)
        code, seen = look(lab)
        print(lab.run("doctor", check=False).stdout)
    found = find(seen, host, words)
    assert found, named(seen)
    assert (code, seen["healthy"], found["urgency"]) == (13, False, urgency)
    assert means in found["means"] and found["cure"], found
    if defect is loops:
        assert "its last words: cannot open the door" in found["saw"]
    if defect in (member, backend):
        assert find({"findings": found["also"]}, host, "out of service in every HAProxy"), found["also"]


@pytest.mark.full
def test_several_at_once_are_told_most_urgent_first(mended: Lab) -> None:
    lab = mended
    with ExitStack() as stack:
        for defect in (member, kubelet, expires, full, nospace):
            stack.enter_context(defect(lab))
        code, seen = look(lab)
        print(lab.run("doctor", check=False).stdout)
    assert code == 13
    wanted = [("cp3", "NOSPACE"), ("w2", FULL), ("w1", "kubelet"), ("cp2", "etcd.service"), ("w2", "5.0 days left")]
    order = [next(n for n, (_, host, saw) in enumerate(named(seen)) if host == of and words in saw)
             for of, words in wanted]
    assert order == sorted(order), named(seen)


@pytest.mark.full
@pytest.mark.dirties
def test_it_answers_while_etcd_has_no_majority_and_a_host_is_without_power(cluster: Lab) -> None:
    with faults.killed(cluster.inventory, "w1"), stopped(cluster, "cp2", "etcd"), stopped(cluster, "cp3", "etcd"):
        began = time.monotonic()
        code, seen = look(cluster)
        took = time.monotonic() - began
        print(cluster.run("doctor", check=False).stdout)
    figures.record("doctor without a majority and with a host down", [took], unit="s", limit=DOWN)
    assert code == 13 and took <= DOWN, took
    first = seen["findings"][0]
    assert first["urgency"] == "now" and "1 of 3 members answer: no majority, 1 more must come back" in first["saw"]
    assert find(seen, "w1", "") and find(seen, "cp2", "etcd.service is not running")
