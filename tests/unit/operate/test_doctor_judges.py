"""What `doctor`'s judges make of what was seen: tables of one thing that is wrong at a time, and of nothing wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import provisioner
from provisioner.cli.verbs import existing_verbs
from provisioner.errors import GateFailed, KubewrightError, Unreachable
from provisioner.model.components import all_units
from provisioner.model.etcd import EtcdReads, EtcdStatus
from provisioner.model.examination import Examination, Inside, Lines, UnitLife
from provisioner.model.file_system import FileSystem
from provisioner.model.finding import Finding
from provisioner.operate.doctor import machines, members, questions, reach
from provisioner.operate.doctor.diagnosis import diagnose, grouped, without_host
from provisioner.operate.doctor.explain import NAMES, explained
from provisioner.operate.doctor.picture import Picture
from provisioner.operate.doctor.table import BY_NAME, OTHER, ROWS, URGENCIES, row_of
from provisioner.operate.haproxy import DRAIN, READY, Server
from provisioner.operate.snapshots import Newest
from tests.unit.compile.compile_fixture import inventory

NOW, GB, DAY = 1_800_000_000.0, 10**9, 86400.0
CPS = ("cp1", "cp2", "cp3")
CLUSTER = inventory()
ALL = (*CPS, "w1", "w2")
ROOM = FileSystem(("/", "/var"), 100 * GB, 40 * GB, 60 * GB, 1000, 900)
WORDS = {"margin": "M", "server": "cp1", "balancer": "cp1", "member": "cp1"}


def member(index: int = 1000, **more: Any) -> EtcdStatus:
    return replace(EtcdStatus("3.6.16", 4_000_000, 1, index, 2, 7, 1, (), applied=index), **more)


def well(**changes: Any) -> Picture:
    """Return what is seen of a lab that is well, but for these."""
    serving = {name: Server(name, READY, True) for name in CPS}
    picture = Picture(
        CLUSTER, NOW,
        examined={h: Examination(units=(UnitLife("kubelet.service", since=NOW - 9 * DAY),), disks=(ROOM,),
                                 inside=Inside(2, 2), now=NOW) for h in ALL},
        members={h: member() for h in CPS}, reads={h: EtcdReads(10, 10) for h in CPS},
        servers=dict.fromkeys(ALL, serving),
        nodes={h: {"metadata": {"name": h}, "status": {"nodeInfo": {"kubeletVersion": "v1.36.3"}, "conditions": [
            {"type": "DiskPressure", "status": "False"}]}} for h in ALL},
        pods=(), version="v1.36.3", clocks=dict.fromkeys(ALL, 0.0), certificates={("cp1", "/x.crt"): 300.0})
    return replace(picture, **changes)


def examined(host: str = "w1", **changes: Any) -> Picture:
    """Return the same, but for what was seen of one host."""
    picture = well()
    return replace(picture, examined={**picture.examined, host: replace(picture.hosts[host], **changes)})


def unit(**changes: Any) -> Picture:
    return examined(units=(replace(UnitLife("kubelet.service", since=NOW - 9 * DAY), **changes),))


def disk(**changes: Any) -> Picture:
    return examined(disks=(replace(ROOM, **changes),))


def kernel(text: str) -> Picture:
    return examined(kernel=Lines(((NOW - 7200, text),)))


def elected(*terms: int) -> Picture:
    said = [f'"msg":"raft.node: f51010a78b38de42 elected leader 9368b8f6f0fb972f at term {term}"' for term in terms]
    return examined("cp1", said=(Lines(tuple((NOW, text) for text in said)),))


def pod(**status: Any) -> Picture:
    return well(pods=[{"metadata": {"name": "dns"}, "spec": {"nodeName": "w1"},
                       "status": {"phase": "Running", **status}}])


def said(picture: Picture) -> list[tuple[str, str, str]]:
    return [(f.host, f.severity, f.saw) for f in questions.judge(picture)]


def test_of_a_cluster_that_is_well_nothing_is_found() -> None:
    assert said(well()) == []


OUT = {name: Server(name, READY, name != "cp2") for name in CPS}
SILENT = GateFailed("cp2: etcd: refused")
LOOPS = {"active": "activating", "sub": "auto-restart", "result": "exit-code", "status": 3, "restarts": 11,
         "words": ("cannot open", "the door")}
TABLE: list[tuple[str, Picture, str, str, str]] = [
    ("majority", well(members={"cp1": member(), "cp2": SILENT, "cp3": SILENT}), "", "error",
     "etcd: 1 of 3 members answer: no majority, 1 more must come back"),
    ("majority-unseen", well(members={"cp1": member()}, reads={"cp1": EtcdReads(10, None, "deadline")}), "",
     "error", "etcd: 1 of 3 members answer: no majority, 1 more must come back; not seen: cp2, cp3"),
    ("majority-apart", well(reads={h: EtcdReads(10, None, "deadline") for h in CPS}), "", "error",
     "etcd: 3 of 3 members answer: one may fail"),
    ("reads", well(reads={"cp1": EtcdReads(10, None, "deadline exceeded"), "cp2": EtcdReads(10, 10)}), "cp1",
     "error", "etcd answers from its own data only, nothing agreed on: deadline exceeded"),
    ("old-reads", well(reads={"cp1": EtcdReads(10, 9000)}), "cp1", "error",
     "etcd's own data is 8990 changes older than what the members agree on"),
    ("elections", elected(4, 5, 5, 6), "", "warning", "etcd: 3 elections of a leader within the last hour"),
    ("spare", well(members={"cp1": member(db_size=10**9, in_use=10**8)}, reads={}), "cp1", "warning",
     "etcd's file has 1000 MB, of which 100 MB are in use"),
    ("no-snapshot", well(snapshots=Newest(None, None)), "", "warning", "etcd: no snapshot is kept"),
    ("old-snapshot", well(snapshots=Newest(9 * DAY, 9 * DAY)), "", "warning",
     "etcd: the newest snapshot is 9 days old"),
    ("unproved-snapshot", well(snapshots=Newest(DAY, None)), "", "warning",
     "etcd: no snapshot was proved by a rehearsal"),
    ("old-proof", well(snapshots=Newest(DAY, 30 * DAY)), "", "warning",
     "etcd: the newest snapshot that was proved is 30 days old"),
    ("haproxy", well(servers={"w1": None}), "w1", "error", "HAProxy does not answer at its socket"),
    ("backend", well(servers={"cp1": OUT, "w1": OUT}), "cp2", "error",
     "its API server is out of service in every HAProxy"),
    ("one-backend", well(servers={"cp1": {c: Server(c, READY, True) for c in CPS}, "w1": OUT}), "cp2", "error",
     "its API server is out of service in the HAProxy of w1"),
    ("pod-dns", examined(inside=Inside(3, 2, dns={"a": "timed out", "b": "timed out"})), "w1", "error",
     "Pods there do not reach cluster DNS: timed out"),
    ("pod-service", examined(inside=Inside(1, 1, tcp={"a": "refused"})), "w1", "error",
     "Pods there do not reach the API's Service: refused"),
    ("pod-none", examined(inside=Inside()), "w1", "unseen", reach.NOBODY),
    ("pod-closed", examined(inside=Inside(1, 0, unseen={"a": "EPERM"})), "w1", "unseen",
     "Pods' networks could not be entered: EPERM"),
    ("pressure", well(nodes={"w1": {"metadata": {"name": "w1"}, "status": {"conditions": [
        {"type": "DiskPressure", "status": "True", "message": "low on disk"}]}}}), "w1", "error",
     "DiskPressure: low on disk"),
    ("cordoned", well(nodes={"w1": {"metadata": {}, "spec": {"unschedulable": True}}}), "w1", "warning",
     "no new Pod is placed there: it is cordoned"),
    ("cordoned", well(nodes={"w1": {"metadata": {"annotations": {"kubewright.io/cordoned": "node drain by me"}},
                                    "spec": {"unschedulable": True}}}), "w1", "warning",
     "no new Pod is placed there: we cordoned it for node drain by me"),
    ("pod-loop", pod(containerStatuses=[{"restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
     "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "message": "no such zone"}}}]), "w1", "error",
     "Pod dns does not stay up: it ended 7 times: CrashLoopBackOff: no such zone"),
    ("pod-waits", pod(phase="Pending", conditions=[
        {"type": "PodScheduled", "status": "False", "message": "0/5 nodes"}]), "w1", "error",
     "Pod dns is not ready: 0/5 nodes"),
    ("expires", well(certificates={("cp1", "/a.crt"): 5.01, ("cp1", "/b.crt"): 6.5, ("w1", "/c.crt"): 8.0}), "cp1",
     "error", "/a.crt and 1 more: 5.0 days left"),
    ("expired", well(certificates={("cp1", "/a.crt"): -1.25}), "cp1", "error", "/a.crt: expired 1.2 days ago"),
    ("kubelet-skew", well(version="v1.32.0"), "", "error", "kubelet-skew: kubelet 1.36.3 is newer than 1.32"),
    ("etcd-floor", well(members={"cp1": member(version="3.6.1"), "cp2": member(), "cp3": member()}), "cp1", "error",
     "etcd 3.6.1 is older than 3.6.14"),
    ("version-odd", well(version="v1.36.3+vendor"), "", "unseen", "a version that cannot be read: "),
    ("loop", unit(**LOOPS), "w1", "error",
     "kubelet.service does not stay up: it ended 11 times, exit 3; its last words: cannot open | the door"),
    ("slow-loop", unit(restarts=3, since=NOW - 300), "w1", "error",
     "kubelet.service does not stay up: it ended 3 times"),
    ("failed", unit(active="failed", sub="failed", result="oom-kill"), "w1", "error",
     "kubelet.service failed, killed for want of memory"),
    ("restarted", unit(restarts=1, since=NOW - 7200, words=("bye",)), "w1", "warning",
     "kubelet.service ended once since boot, last 2 h ago; its last words: bye"),
    ("others", examined(failed=("backup.service",)), "w1", "warning", "systemd calls failed: backup.service"),
    ("kernel-unseen", examined(kernel=Lines(why="it is a container")), "w1", "unseen", "it is a container"),
    ("full", disk(used=99 * GB, free=GB), "w1", "error", "/ (with /var): 99 % in use, 1.0 GB left"),
    ("tight", disk(used=90 * GB, free=10 * GB), "w1", "warning", "/ (with /var): 90 % in use, 10.0 GB left"),
    ("inodes", disk(inodes_free=10), "w1", "error", "/ (with /var): 99 % of its inodes in use, 10 left"),
    ("read-only", disk(read_only=True), "w1", "error", "/ (with /var): mounted read-only"),
    ("filling", replace(well(), samples={"w1": {"/": [(NOW - DAY, 30 * GB)]}}), "w1", "error",
     "/ (with /var): full in 6.0 days at the rate of the last 1 d: 10.0 GB a day, 60.0 GB left"),
    ("filling-since-hours", replace(well(), samples={"w1": {"/": [(NOW - 7200, 34 * GB)]}}), "w1", "warning",
     "/ (with /var): full in 0.8 days at the rate of the last 2 h: 72.0 GB a day, 60.0 GB left"),
    ("clock", well(clocks={"cp1": 7.0, "cp2": 7.0, "cp3": 7.1, "w1": 5.0}), "w1", "error",
     "its clock is 2.0 s behind the other hosts' median"),
    ("unexamined", well(examined={"w1": KubewrightError("w1: applier examine: exit 1")}), "w1", "unseen",
     "applier examine: exit 1"),
    ("half-examined", examined(unseen={"failed": "systemctl: no answer in 4 s"}), "w1", "unseen",
     "failed: systemctl: no answer in 4 s"),
    *((f"kernel-{n}", kernel(text), "w1", "warning", words) for n, (text, words) in enumerate((
        ("Out of memory: Killed process 4711 (etcd)", "the kernel killed a process for want of memory"),
        ("oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),global_oom", "the kernel killed a process for want of"),
        ("blk_update_request: I/O error, dev sda, sector 1", "a disk does not read or write"),
        ("INFO: task jbd2/sda1-8:211 blocked for more than 120 seconds.", "a task hangs, most often for a disk"),
        ("EXT4-fs error (device sda1): ext4_lookup:1855: inode #2", "a file system is damaged"),
        ("EXT4-fs (sda1): Remounting filesystem read-only", "a file system is damaged"),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s!", "a processor is stuck"),
        ("mce: [Hardware Error]: Machine check events logged", "the hardware reports errors"),
        ("nf_conntrack: nf_conntrack: table full, dropping packet", "connections are dropped"),
    ))),
]


@pytest.mark.parametrize(
    ("picture", "host", "severity", "words"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_is_wrong_is_found_and_nothing_else(picture: Picture, host: str, severity: str, words: str) -> None:
    found = said(picture)
    assert len(found) == 1 or (host == "" and severity == "error" and "members answer" in words), found
    assert found[0][:2] == (host, severity) and found[0][2].startswith(words), found


FINE: list[tuple[str, Picture]] = [
    ("one network of Pods that a policy closes", examined(inside=Inside(2, 2, dns={"a": "timed out"}))),
    ("a server that a run took out", well(servers={"w1": {"cp1": Server("cp1", DRAIN, True),
                                                          "cp2": Server("cp2", READY, True)}})),
    ("a unit that ended long ago", unit(restarts=9, since=NOW - 2 * DAY)),
    ("a unit that was stopped: `status` tells it", unit(active="inactive", sub="dead")),
    ("a Pod that has done its work", pod(phase="Succeeded")),
    ("a container that ended often and runs for long", pod(conditions=[{"type": "Ready", "status": "True"}],
     containerStatuses=[{"restartCount": 9, "state": {"running": {"startedAt": "2020-01-01T00:00:00Z"}}}])),
    ("a disk that empties", replace(well(), samples={"w1": {"/": [(NOW - DAY, 90 * GB)]}})),
    ("a rate of minutes, which says nothing", replace(well(), samples={"w1": {"/": [(NOW - 600, 0)]}})),
    ("a snapshot of today that was proved", well(snapshots=Newest(DAY, DAY))),
    ("one host alone has no median", well(clocks={"cp1": 99.0})),
    ("two elections: a restart", elected(4, 5)),
    ("a Pod that met its own limit", kernel("Memory cgroup out of memory: Killed process 1 (java)")),
    ("the line before it", kernel("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x")),
    ("a drive without a floppy", kernel("blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ)")),
    ("and its buffer", kernel("Buffer I/O error on dev fd0, logical block 0, async page read")),
    ("a Pod that was evicted, and replaced since", pod(phase="Failed", reason="Evicted", containerStatuses=[
        {"restartCount": 9, "ready": False, "state": {"terminated": {"reason": "Error", "exitCode": 137}}}])),
    ("what the kernel says of everyday life", kernel("eth0: link becomes ready")),
    ("a small file that is empty inside", well(members={"cp1": member(db_size=10**8, in_use=1)}, reads={})),
]


@pytest.mark.parametrize("picture", [row[1] for row in FINE], ids=[row[0] for row in FINE])
def test_what_only_looks_wrong_is_not_told(picture: Picture) -> None:
    assert said(picture) == []


@pytest.mark.parametrize(("total", "answering", "words"), [
    (3, 3, "one may fail"), (3, 2, "none may fail"), (3, 1, "no majority, 1 more must come back"),
    (5, 5, "two may fail"), (5, 2, "no majority, 1 more must come back"), (1, 1, "none may fail"), (9, 9, "4 may fail"),
    (3, 0, "no majority, 2 more must come back")])
def test_the_margin_of_the_majority_is_said_in_words(total: int, answering: int, words: str) -> None:
    assert members.margin(total, answering) == f"{answering} of {total} members answer: {words}"


def test_members_that_nobody_could_ask_are_not_said_to_be_lost() -> None:
    closed = Unreachable("cp2: connecting: no route")
    picture = well(members={"cp1": member(), "cp2": closed, "cp3": closed})
    assert said(picture) == []
    assert members.margin_of(picture).endswith("; not seen: cp2, cp3")


def found_as(check: str, host: str, saw: str = "x", code: str = "", severity: Any = "error") -> Finding:
    return Finding(check, host, severity, saw, "", code=code)


def test_most_urgent_comes_first_whatever_the_order_of_the_questions() -> None:
    wrong = [found_as("drift", "w1"), found_as("expiry", "w2", code="expires"),
             found_as("units", "w1", "kubelet.service is not running"),
             found_as("units", "cp2", "etcd.service is not running"), found_as("disk", "w2", code="disk-full"),
             found_as("etcd-alarms", "cp3")]
    told = diagnose(wrong, WORDS).told
    assert [(one.urgency, one.finding.host) for one in told] == [
        ("now", "cp3"), ("now", "w2"), ("now", "w1"), ("at risk", "cp2"), ("soon", "w2"), ("tidy", "w1")]
    assert diagnose(reversed(wrong), WORDS).told == told


CONSEQUENCES: list[tuple[Finding, Finding]] = [
    (found_as("units", "cp2", "etcd.service is not running"), found_as("etcd", "cp2", "etcd: refused")),
    (found_as("units", "cp2", "etcd.service is not running"), found_as("backend", "cp2", "its API server is out")),
    (found_as("units", "cp2", "etcd.service is not running"), found_as("probes", "cp2", "API: 500")),
    (found_as("units", "cp1", "kube-apiserver.service is not running"), found_as("backend", "cp1")),
    (found_as("probes", "cp3", "API: timed out"), found_as("backend", "cp3", "its API server is out")),
    (found_as("units", "w1", "kubelet.service is not running"), found_as("nodes", "w1", "kubelet: stopped posting")),
    (found_as("units", "w1", "haproxy.service is not running"), found_as("haproxy", "w1")),
    (found_as("reach", "cp3", severity="unseen"), found_as("nodes", "cp3")),
    (found_as("probes", "w2", "packet rules of kube-proxy: gone"), found_as("pod-network", "w2", code="pod-dns")),
    (found_as("probes", "w2", "packet rules of kube-proxy: gone"), found_as("probes", "w2", "cluster DNS: timed out")),
    (found_as("restarts", "cp2", "etcd.service does not stay up", code="restart-loop"),
     found_as("units", "cp2", "etcd.service is not running")),
    (found_as("restarts", "cp2", "kube-scheduler.service does not stay up", code="restart-loop"),
     found_as("probes", "cp2", "kube-scheduler.service: activating (auto-restart): exited 3 times")),
    (found_as("restarts", "cp2", "kube-scheduler.service does not stay up", code="restart-loop"),
     found_as("probes", "cp2", "API at the VIP: not tried")),
    (found_as("etcd-majority", ""), found_as("writes", "")),
    (found_as("etcd-alarms", "cp3"), found_as("leaders", "")),
    (found_as("etcd-majority", ""), found_as("probes", "cp1", "API: 500")),
    (found_as("etcd", "cp2"), found_as("etcd", "", "etcd: 2 of 3 members answer")),
]


@pytest.mark.parametrize(("cause", "effect"), CONSEQUENCES)
def test_what_follows_from_something_is_told_under_it(cause: Finding, effect: Finding) -> None:
    (one,) = diagnose([effect, cause], WORDS).told
    assert (one.finding, one.also) == (cause, (effect,))


@pytest.mark.parametrize(("one", "other"), [
    (found_as("units", "cp2", "etcd.service is not running"), found_as("etcd", "cp1", "etcd: refused")),
    (found_as("units", "w1", "kubelet.service is not running"), found_as("pod-network", "w1", code="pod-dns")),
    (found_as("restarts", "cp2", "etcd.service does not stay up", code="restart-loop"),
     found_as("units", "cp2", "kubelet.service is not running")),
])
def test_what_only_happens_beside_it_is_told_for_itself(one: Finding, other: Finding) -> None:
    assert len(diagnose([one, other], WORDS).told) == 2


@pytest.mark.parametrize(("finding", "healthy"), [
    (found_as("kernel", "w1", severity="unseen"), True), (found_as("pod-network", "w1", severity="unseen"), True),
    (found_as("reach", "w1", severity="unseen"), False), (found_as("examined", "w1", severity="unseen"), False),
    (found_as("disk", "w1", code="disk-tight", severity="warning"), True), (found_as("drift", "w1"), False)])
def test_what_can_never_be_seen_there_makes_nobody_ill_and_what_was_not_seen_does(
        finding: Finding, healthy: bool) -> None:
    assert diagnose([finding], WORDS).healthy is healthy


def test_every_finding_of_the_table_of_defects_has_a_meaning_and_something_to_type() -> None:
    for name, picture, *_ in TABLE:
        for one in diagnose(questions.judge(picture), WORDS).told:
            assert row_of(one.finding) is not OTHER and one.means and one.cure, name
            assert one.finding.expected, name


def test_what_status_and_doctor_find_has_a_row_of_its_own() -> None:
    """Also what is added to `status` later: without a row it would be told without a meaning."""
    package = Path(provisioner.__file__).parent
    files = [package / "operate" / "health.py", package / "orchestrate" / "gates" / "health.py",
             package / "orchestrate" / "look" / "status.py", *(package / "operate" / "doctor").glob("*.py")]
    checks = {name for file in files for name in re.findall(r'Finding\("([a-z-]+)"', file.read_text(encoding="utf-8"))}
    assert len(checks) > 30
    assert {name for name in checks if row_of(found_as(name, "cp1")) is OTHER} <= {"restarts"}     # which has codes


def test_rows_have_names_of_their_own_every_urgency_is_used_and_each_can_be_explained() -> None:
    assert len(BY_NAME) == len(ROWS)
    assert {row.urgency for row in ROWS} == set(URGENCIES)
    for name in NAMES:
        assert explained(name)["name"] == name


def test_the_disk_of_a_look_in_the_future_or_of_last_month_says_nothing() -> None:
    for at in (NOW + DAY, NOW - 30 * DAY):
        assert machines.forecast([(at, 0)], NOW, ROOM) == (None, 0.0, 0.0)


def judges() -> Iterator[Callable[[Picture], Iterator[Finding]]]:
    yield from (question.judge for question in questions.QUESTIONS)


def test_no_judge_needs_anything_to_have_been_seen() -> None:
    nothing = Picture(CLUSTER, NOW)
    assert [f for judge in judges() for f in judge(nothing)] == []


def test_hosts_of_which_the_same_is_so_are_told_together_and_no_other_name_is_taken_for_theirs() -> None:
    wrong = [found_as("units", host, "kubelet.service is not running") for host in ("w1", "w2")]
    (group,) = grouped(diagnose(wrong, WORDS).told)
    assert (group.hosts, len(group.cures)) == (("w1", "w2"), 1)
    assert without_host("On w1 and w10", group.one.finding.host, group.hosts) == "On w1, w2 and w10"


def test_a_command_that_is_told_names_a_verb_and_a_unit_that_there_are() -> None:
    """The words after `kubewright` and the units of `logs`: a cure that does not work when pasted is none."""
    units = {unit.removesuffix(".service") for _, unit in all_units()}
    cures = [row.cure for row in ROWS]
    cures += [one.cure for _, picture, *_ in TABLE for one in diagnose(questions.judge(picture), WORDS).told]
    assert len(cures) > 50
    for words in (part.split() for cure in cures for part in cure.split("; ") if part.startswith("kubewright ")):
        assert words[1] in existing_verbs(), words
        assert words[1] != "logs" or words[3] in units, words
