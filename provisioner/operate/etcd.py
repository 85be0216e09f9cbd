"""etcd members over the etcd3 API: the only place that knows it.

One client per endpoint, never the library's failover: its default marks healthy members as failed for 300 s during an
election (measured with 0.12.1: 47 of 60 calls refused after the leader was killed).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from provisioner.errors import KubewrightError
from provisioner.model.etcd import Alarm, EtcdStatus, MemberSeen
from provisioner.operate import etcd_wire
from provisioner.operate.access import Access

TIMEOUT = 3.0
_ALARMS = {1: "NOSPACE", 2: "CORRUPT"}


class EtcdFault(KubewrightError):
    """An etcd member did not answer as asked."""

    code = "etcd"
    exit_code = 13


def status(access: Access, *, timeout: float = TIMEOUT) -> EtcdStatus:
    """Ask one member for its state and its view of the membership; EtcdFault holds the server's own words."""
    with _client(access, timeout, "asking a member for its status") as (client, rpc):
        reply = etcd_wire.status(client.channel, rpc.StatusRequest(), timeout)
        members = tuple(MemberSeen(int(m.id), str(m.name), tuple(m.peer_urls)) for m in client.members)
    return EtcdStatus(
        version=str(reply.version), db_size=int(reply.dbSize), leader_id=int(reply.leader),
        raft_index=int(reply.raftIndex), raft_term=int(reply.raftTerm), cluster_id=int(reply.header.cluster_id),
        member_id=int(reply.header.member_id), members=members, applied=int(reply.raftAppliedIndex),
        in_use=int(reply.dbSizeInUse), learner=bool(reply.isLearner), revision=int(reply.header.revision))


def alarms(access: Access, *, timeout: float = TIMEOUT) -> tuple[Alarm, ...]:
    """Ask one member for the alarms of all; it takes a quorum, EtcdFault without one.

    A member with an alarm says that it is ready, and its status says nothing of it.
    """
    with _client(access, timeout, "asking for alarms") as (client, rpc):
        request = rpc.AlarmRequest(action=rpc.AlarmRequest.GET, memberID=0, alarm=rpc.NONE)
        reply: Any = client.maintenancestub.Alarm(request, timeout, credentials=client.call_credentials)
        # By number: the library's list of alarms ends before CORRUPT.
        return tuple(Alarm(int(a.memberID), _ALARMS.get(int(a.alarm), str(int(a.alarm)))) for a in reply.alarms)


def move_leader(access: Access, successor: int, *, timeout: float = TIMEOUT) -> None:
    """Let the leader, which `access` must lead to, hand over to the member with this id; other members refuse it."""
    with _client(access, timeout, "moving the leadership") as (client, rpc):
        client.maintenancestub.MoveLeader(
            rpc.MoveLeaderRequest(targetID=successor), timeout, credentials=client.call_credentials)


@contextmanager
def _client(access: Access, timeout: float, doing: str) -> Iterator[tuple[Any, Any]]:
    """Give a client of one endpoint and the messages it speaks; what the library raises becomes an EtcdFault."""
    import etcd3
    import grpc

    client = etcd3.client(
        host=access.address[0], port=access.address[1], ca_cert=str(access.ca_file),
        cert_cert=str(access.cert_file), cert_key=str(access.key_file), timeout=timeout,
        # The tunnel ends at loopback: `localhost` is a name every member's certificate carries.
        grpc_options={"grpc.ssl_target_name_override": "localhost", "grpc.enable_http_proxy": 0}.items())
    try:
        yield client, etcd3.etcdrpc
    except (etcd3.exceptions.Etcd3Exception, grpc.RpcError) as error:
        raise access.blame(EtcdFault(f"etcd: {doing}: {_said(error)}")) from error
    finally:
        client.close()


def _said(error: BaseException) -> str:
    """Dig out the server's words: the library's own exception hides them (measured)."""
    cause: Any = error.__cause__ or error
    details = getattr(cause, "details", None)
    return str(details() if callable(details) else details or error or type(error).__name__)
