"""Who is a member of etcd: added as a learner, promoted, removed; each is one request to one healthy member."""

from __future__ import annotations

from provisioner.model.etcd import MemberSeen
from provisioner.operate import etcd_wire
from provisioner.operate.access import Access
from provisioner.operate.etcd import TIMEOUT, client_of, members_of


def listed(access: Access, *, timeout: float = TIMEOUT) -> tuple[MemberSeen, ...]:
    """Ask for the members as a majority knows them now; EtcdFault where there is none."""
    with client_of(access, timeout, "asking who is a member") as (client, _):
        return members_of(etcd_wire.members(client, "List", timeout, linearizable=True).members)


def add_learner(access: Access, peer_url: str, *, timeout: float = TIMEOUT) -> int:
    """Add a member that does not vote, and return its id; etcd refuses a second with the same address."""
    with client_of(access, timeout, f"adding {peer_url} as a learner") as (client, _):
        return int(etcd_wire.members(client, "Add", timeout, peerURLs=[peer_url], isLearner=True).member.ID)


def promote(access: Access, member: int, *, timeout: float = TIMEOUT) -> None:
    """Let a learner vote; etcd refuses one that has not all data yet, and one that votes already."""
    with client_of(access, timeout, f"promoting member {member:x}") as (client, _):
        etcd_wire.members(client, "Promote", timeout, ID=member)


def remove(access: Access, member: int, *, timeout: float = TIMEOUT) -> None:
    """Remove a member; etcd refuses where too few of those that started would be left."""
    with client_of(access, timeout, f"removing member {member:x}") as (client, _):
        etcd_wire.members(client, "Remove", timeout, ID=member)
