"""What is decided about etcd members from what they say: who leads next, and whether they are one cluster."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from provisioner.model.etcd import EtcdStatus


def successor_of(leader: EtcdStatus, others: Sequence[EtcdStatus]) -> int | None:
    """Return the id of the member that should lead instead: of those that answer, the one that is furthest.

    None where no other member of the leader's own view answers.
    """
    known = {m.id for m in leader.members if m.name}
    fit = [s for s in others if s.member_id in known and s.member_id != leader.member_id and s.leader_id]
    return max(fit, key=lambda s: (s.raft_index, s.member_id)).member_id if fit else None


def disagreements(
    statuses: Sequence[EtcdStatus], names: Sequence[str], *, asked: int = 0, joining: Collection[str] = (),
) -> list[str]:
    """Say why these members are not yet one healthy cluster of exactly `names`; empty when they are.

    `asked` says how many of them were asked, if not all; members at the peer addresses `joining` are no matter yet.
    It is etcd's own health rule (a leader that all agree on) plus the wish that the membership is the inventory's.
    """
    if not statuses:
        return ["no member answers"]
    faults = []
    if len({s.cluster_id for s in statuses}) > 1:
        faults.append("members are of different clusters")
    if any(s.leader_id == 0 for s in statuses) or len({s.leader_id for s in statuses}) > 1:
        faults.append("no leader that all agree on")
    listed = {m.name or "(not started)" for s in statuses for m in s.members
              if not set(m.peer_urls) & set(joining)}
    if listed != set(names):
        faults.append(f"members are {', '.join(sorted(listed))}, should be {', '.join(sorted(names))}")
    learners = {m.name for s in statuses for m in s.members if m.is_learner and m.name in names
                and not set(m.peer_urls) & set(joining)}
    if learners:
        faults.append(f"{', '.join(sorted(learners))} has no vote yet: a learner")
    wanted = asked or len(names)
    if len(statuses) < wanted:
        faults.append(f"{len(statuses)} of {wanted} members answer")
    return faults
