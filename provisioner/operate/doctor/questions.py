"""Every question that `doctor` asks beside those of `status`, one a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from provisioner.model.finding import Finding
from provisioner.operate.doctor import machines, members, reach, workloads
from provisioner.operate.doctor.picture import Picture


@dataclass(frozen=True)
class Question:
    """A named question; `doc` is what should be so."""

    name: str
    doc: str
    judge: Callable[[Picture], Iterator[Finding]]


QUESTIONS: tuple[Question, ...] = (
    Question("etcd-majority", "a majority of etcd's members answers", members.majority),
    Question("etcd-reads", "what a member reads is what a majority agrees on", members.reads),
    Question("etcd-elections", "etcd's leader stays", members.elections),
    Question("etcd-spare", "etcd's file is not mostly empty inside", members.room),
    Question("snapshots", "a proved snapshot of etcd of the last 7 days is kept, here or on a host", members.snapshots),
    Question("balancers", "every API server is in service in every HAProxy", reach.balancers),
    Question("pod-network", "Pods reach cluster DNS and Services from every node", reach.pods),
    Question("node-pressure", "no Node is short of memory, disk, processes or network", workloads.conditions),
    Question("system-pods", "the Pods of kube-system run and stay up", workloads.system_pods),
    Question("expiry", "certificates last for more than 7 days", machines.certificates),
    Question("versions", "versions go together by Kubernetes' skew rules", workloads.versions),
    Question("restarts", "units stay up", machines.lives),
    Question("kernel", "the kernel reports no trouble since boot", machines.kernel),
    Question("disk", "file systems have room, and will have for 7 days", machines.disks),
    Question("clock", "no clock is more than 0.5 s off the median", machines.clocks),
    Question("examined", "a host that answers can be examined", machines.unexamined),
)


def judge(picture: Picture) -> list[Finding]:
    """Return what all questions find."""
    return [replace(finding, expected=finding.expected or question.doc)
            for question in QUESTIONS for finding in question.judge(picture)]
