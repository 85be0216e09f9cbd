"""What `etcd members` tells: every member asked twice by itself, so that who stays behind is seen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from provisioner.compile.etcd import quota_of
from provisioner.decide.etcd import disagreements
from provisioner.errors import KubewrightError
from provisioner.model.etcd import Alarm, EtcdStatus
from provisioner.model.finding import Finding
from provisioner.operate import health as judge
from provisioner.orchestrate.gates import etcd_members, health
from provisioner.orchestrate.session.session import Session
from provisioner.report.findings import lines

Answers = Mapping[str, EtcdStatus | KubewrightError]


@dataclass(frozen=True)
class MemberRow:
    """One member: `state` is leader, follower, learner, `?` (not seen) or down; the rest is 0 where it did not answer.

    `lag` is how many entries of the log it has not worked off of those that any member had a moment before.
    """

    host: str
    id: str = ""
    state: str = "down"
    version: str = ""
    size: int = 0
    in_use: int = 0
    quota: int = 0
    raft_term: int = 0
    raft_index: int = 0
    lag: int = 0
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Members:
    """The members as they are now; healthy means that nothing was found that keeps them from it."""

    cluster: str
    cluster_id: str
    rows: tuple[MemberRow, ...]
    quorum: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def healthy(self) -> bool:
        return not self.attention

    @property
    def attention(self) -> list[str]:
        return lines(f for f in self.findings if f.severity != "warning")

    @property
    def warnings(self) -> list[str]:
        return lines(f for f in self.findings if f.severity == "warning")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"cluster": self.cluster, "cluster_id": self.cluster_id, "healthy": self.healthy,
                "quorum": self.quorum, "members": [asdict(row) | {"alarms": list(row.alarms)} for row in self.rows],
                "findings": [f.to_json() for f in self.findings], "seconds": self.seconds}


def look(session: Session) -> Members:
    """Ask every member of the inventory; reads only, and needs neither the API nor a quorum."""
    began = time.monotonic()
    names = [h.name for h in session.cluster.etcd_hosts]
    before, answers = etcd_members.members(session, names), etcd_members.members(session, names)
    alarms, found = health.alarms(session, answers)
    quotas = {h: quota_of(session.cluster, h) for h in names}
    rows = tuple(rows_of(before, answers, alarms, quotas))
    seen = [a for a in answers.values() if isinstance(a, EtcdStatus)]
    found += [*judge.of_members(names, answers, disagreements(seen, names)), *judge.of_room(answers, quotas),
              *judge.of_lag({row.host: row.lag for row in rows})]
    of_clusters = dict.fromkeys(f"{s.cluster_id:x}" for s in seen)
    return Members(session.cluster.cluster, ", ".join(of_clusters), rows, judge.quorum_words(names, answers),
                   tuple(found), round(time.monotonic() - began, 1))


def rows_of(before: Answers, answers: Answers, alarms: Iterable[Alarm], quotas: Mapping[str, int],
            ) -> Iterator[MemberRow]:
    """Yield a row for each member, from what each said at two looks. Pure."""
    goal = max((a.raft_index for a in before.values() if isinstance(a, EtcdStatus)), default=0)
    raised = tuple(alarms)
    for host, seen in answers.items():
        if not isinstance(seen, EtcdStatus):
            yield MemberRow(host, state="?" if judge.is_unseen(seen) else "down", quota=quotas.get(host, 0))
            continue
        state = "leader" if seen.is_leader else "learner" if seen.learner else "follower"
        yield MemberRow(
            host, f"{seen.member_id:x}", state, seen.version, seen.db_size, seen.in_use, quotas.get(host, 0),
            seen.raft_term, seen.raft_index, max(0, goal - seen.applied),
            tuple(a.kind for a in raised if a.member_id == seen.member_id))
