"""etcd members over the etcd3 API: the only place that knows it.

One client per endpoint, never the library's failover: its default marks healthy members as failed for 300 s during an
election (measured with 0.12.1: 47 of 60 calls refused after the leader was killed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.errors import KubewrightError
from provisioner.operate.access import Access

TIMEOUT = 3.0


class EtcdFault(KubewrightError):
    """An etcd member did not answer as asked."""

    code = "etcd"
    exit_code = 13


@dataclass(frozen=True)
class MemberSeen:
    """A member as the cluster lists it; one that never started has no name."""

    id: int
    name: str
    peer_urls: tuple[str, ...]


@dataclass(frozen=True)
class EtcdStatus:
    """What one endpoint says of itself and of its cluster."""

    version: str
    db_size: int
    leader_id: int
    raft_index: int
    raft_term: int
    cluster_id: int
    member_id: int
    members: tuple[MemberSeen, ...]

    @property
    def is_leader(self) -> bool:
        return self.member_id == self.leader_id


def status(access: Access, *, timeout: float = TIMEOUT) -> EtcdStatus:
    """Ask one member for its state and its view of the membership; EtcdFault holds the server's own words."""
    import etcd3
    import grpc

    client = etcd3.client(
        host=access.address[0], port=access.address[1], ca_cert=str(access.ca_file),
        cert_cert=str(access.cert_file), cert_key=str(access.key_file), timeout=timeout,
        # The tunnel ends at loopback: `localhost` is a name every member's certificate carries.
        grpc_options={"grpc.ssl_target_name_override": "localhost", "grpc.enable_http_proxy": 0}.items())
    try:
        reply: Any = client.maintenancestub.Status(
            etcd3.etcdrpc.StatusRequest(), timeout, credentials=client.call_credentials)
        members = tuple(MemberSeen(int(m.id), str(m.name), tuple(m.peer_urls)) for m in client.members)
    except (etcd3.exceptions.Etcd3Exception, grpc.RpcError) as error:
        raise EtcdFault(f"etcd: asking a member for its status: {_said(error)}") from error
    finally:
        client.close()
    return EtcdStatus(
        version=str(reply.version), db_size=int(reply.dbSize), leader_id=int(reply.leader),
        raft_index=int(reply.raftIndex), raft_term=int(reply.raftTerm), cluster_id=int(reply.header.cluster_id),
        member_id=int(reply.header.member_id), members=members)


def _said(error: BaseException) -> str:
    """Dig out the server's words: the library's own exception hides them (measured)."""
    cause: Any = error.__cause__ or error
    details = getattr(cause, "details", None)
    return str(details() if callable(details) else details or error or type(error).__name__)


def disagreements(statuses: Sequence[EtcdStatus], names: Sequence[str], *, asked: int = 0) -> list[str]:
    """Say why these members are not yet one healthy cluster of exactly `names`; empty when they are.

    `asked` says how many of them were asked, if not all. Pure: etcd's own health rule (a leader that all agree on)
    plus the wish that the membership is the inventory's.
    """
    if not statuses:
        return ["no member answers"]
    faults = []
    if len({s.cluster_id for s in statuses}) > 1:
        faults.append("members are of different clusters")
    if any(s.leader_id == 0 for s in statuses) or len({s.leader_id for s in statuses}) > 1:
        faults.append("no leader that all agree on")
    listed = {m.name or "(not started)" for s in statuses for m in s.members}
    if listed != set(names):
        faults.append(f"members are {', '.join(sorted(listed))}, should be {', '.join(sorted(names))}")
    wanted = asked or len(names)
    if len(statuses) < wanted:
        faults.append(f"{len(statuses)} of {wanted} members answer")
    return faults
