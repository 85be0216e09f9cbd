"""What etcd members say of themselves."""

from __future__ import annotations

from dataclasses import dataclass


def quorum(voters: int) -> int:
    """Return how many of so many voters must agree."""
    return voters // 2 + 1


@dataclass(frozen=True)
class MemberSeen:
    """A member as the cluster lists it; one that never started has no name, a learner has no vote."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    is_learner: bool = False


@dataclass(frozen=True)
class EtcdStatus:
    """What one endpoint says of itself and of its cluster.

    `applied` is how far of the log it has worked off, `in_use` how many bytes of its file hold data. A learner has no
    vote yet.
    """

    version: str
    db_size: int
    leader_id: int
    raft_index: int
    raft_term: int
    cluster_id: int
    member_id: int
    members: tuple[MemberSeen, ...]
    applied: int = 0
    in_use: int = 0
    learner: bool = False
    revision: int = 0

    @property
    def is_leader(self) -> bool:
        return self.member_id == self.leader_id


@dataclass(frozen=True)
class Alarm:
    """What a member has raised and nobody has ended yet: `NOSPACE`, `CORRUPT`, or the number of one we do not know."""

    member_id: int
    kind: str


@dataclass(frozen=True)
class EtcdReads:
    """What one member answers to the same read asked in two ways: the revision that each answer is of.

    `own` is from the member's data as it is (serializable), `agreed` with a majority behind it
    (linearizable); None where there was no answer. That a member does not answer at all is told by its status.
    """

    own: int | None = None
    agreed: int | None = None
    agreed_fault: str = ""
