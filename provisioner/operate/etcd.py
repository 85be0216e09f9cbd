"""etcd members over the etcd3 API: with etcd_wire.py and etcd_membership.py the only place that knows it.

One client per endpoint, never the library's failover: its default marks healthy members as failed for 300 s during an
election (measured with 0.12.1: 47 of 60 calls refused after the leader was killed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from provisioner.errors import KubewrightError
from provisioner.model.etcd import Alarm, EtcdReads, EtcdStatus, MemberSeen
from provisioner.model.words import table as words
from provisioner.operate import etcd_wire
from provisioner.operate.access import Access

TIMEOUT = 3.0
PAGE = 2000         # keys of one answer, which gRPC cuts at 4 MiB
_ALARMS = {1: "NOSPACE", 2: "CORRUPT"}


class EtcdFault(KubewrightError):
    """An etcd member did not answer as asked."""

    code = "etcd"
    exit_code = 13


def status(access: Access, *, timeout: float = TIMEOUT) -> EtcdStatus:
    """Ask one member for its state and its view of the membership; EtcdFault holds the server's own words.

    A learner tells its state alone: etcd refuses to let it list the members.
    """
    with client_of(access, timeout, "asking a member for its status") as (client, rpc):
        reply = etcd_wire.status(client, rpc.StatusRequest(), timeout)
        members = () if reply.isLearner else members_of(etcd_wire.members(client, "List", timeout).members)
    return EtcdStatus(
        version=str(reply.version), db_size=int(reply.dbSize), leader_id=int(reply.leader),
        raft_index=int(reply.raftIndex), raft_term=int(reply.raftTerm), cluster_id=int(reply.header.cluster_id),
        member_id=int(reply.header.member_id), members=members, applied=int(reply.raftAppliedIndex),
        in_use=int(reply.dbSizeInUse), learner=bool(reply.isLearner), revision=int(reply.header.revision))


def hears_leader(access: Access, *, timeout: float = TIMEOUT) -> bool:
    """Say whether a member, which may be a learner, runs and hears a leader; EtcdFault where it does not answer."""
    with client_of(access, timeout, "asking a member for its leader") as (client, rpc):
        return bool(etcd_wire.status(client, rpc.StatusRequest(), timeout).leader)


def alarms(access: Access, *, timeout: float = TIMEOUT) -> tuple[Alarm, ...]:
    """Ask one member for the alarms of all; it takes a quorum, EtcdFault without one.

    A member with an alarm says that it is ready, and its status says nothing of it.
    """
    with client_of(access, timeout, "asking for alarms") as (client, rpc):
        request = rpc.AlarmRequest(action=rpc.AlarmRequest.GET, memberID=0, alarm=rpc.NONE)
        reply: Any = client.maintenancestub.Alarm(request, timeout, credentials=client.call_credentials)
        # By number: the library's list of alarms ends before CORRUPT.
        return tuple(Alarm(int(a.memberID), _ALARMS.get(int(a.alarm), str(int(a.alarm)))) for a in reply.alarms)


def reads(access: Access, *, timeout: float = TIMEOUT) -> EtcdReads:
    """Read one key that is not there in both ways from one member; no fault of an answer ends this.

    Its own data is asked for first: what is agreed on later can only be newer.
    """
    def revision(serializable: bool) -> int:
        with client_of(access, timeout, "reading") as (client, rpc):
            request = rpc.RangeRequest(key=b"kubewright-doctor", limit=1, serializable=serializable)
            reply: Any = client.kvstub.Range(request, timeout, credentials=client.call_credentials)
            return int(reply.header.revision)

    own: int | None = None
    with suppress(KubewrightError):     # told by who asked for its status
        own = revision(serializable=True)
    try:
        return EtcdReads(own, revision(serializable=False))
    except KubewrightError as fault:
        return EtcdReads(own, None, fault.message)


def move_leader(access: Access, successor: int, *, timeout: float = TIMEOUT) -> None:
    """Let the leader, which `access` must lead to, hand over to the member with this id; other members refuse it."""
    with client_of(access, timeout, "moving the leadership") as (client, rpc):
        client.maintenancestub.MoveLeader(
            rpc.MoveLeaderRequest(targetID=successor), timeout, credentials=client.call_credentials)


def snapshot(access: Access, take: Callable[[bytes], object], *, timeout: float) -> EtcdStatus:
    """Let one member stream all its data, piece by piece, and return its status of right before.

    Its last 32 bytes are the SHA-256 of those before. `timeout` is the whole stream's.
    """
    with client_of(access, timeout, "streaming a snapshot") as (client, rpc):
        before = status(access)
        stream = client.maintenancestub.Snapshot(rpc.SnapshotRequest(), timeout, credentials=client.call_credentials)
        for piece in stream:
            take(bytes(piece.blob))
        return before


def hash_of(access: Access, revision: int, *, timeout: float = 30.0) -> tuple[int, int]:
    """Return a member's hash of its keys as they were at a revision, and the revision that it counts from."""
    with client_of(access, timeout, "asking for the hash of the keys") as (client, _):
        reply = etcd_wire.hash_kv(client, revision, timeout)
        return int(reply.hash), int(reply.compact_revision)


def count(access: Access, prefix: bytes = b"", *, revision: int = 0, timeout: float = 30.0) -> int:
    """Return how many keys begin with `prefix`, all of them without one; needs no quorum."""
    with client_of(access, timeout, "counting keys") as (client, rpc):
        return int(_range(client, rpc, _from(prefix), timeout, count_only=True, revision=revision,
                          range_end=_end(prefix)).count)


def first(access: Access, prefix: bytes, *, timeout: float = TIMEOUT) -> tuple[bytes, bytes] | None:
    """Return the first key that begins with `prefix` and its value; needs no quorum."""
    with client_of(access, timeout, "reading a key") as (client, rpc):
        found = _range(client, rpc, _from(prefix), timeout, limit=1, range_end=_end(prefix)).kvs
        return (bytes(found[0].key), bytes(found[0].value)) if found else None


def revisions(access: Access, prefix: bytes = b"", *, timeout: float = 30.0) -> dict[bytes, int]:
    """Return every key that begins with `prefix` with the revision that it was last written at; needs no quorum."""
    found: dict[bytes, int] = {}
    begin, at = _from(prefix), 0
    with client_of(access, timeout, "listing keys") as (client, rpc):
        while True:
            page = _range(client, rpc, begin, timeout, keys_only=True, limit=PAGE, range_end=_end(prefix), revision=at)
            found |= {bytes(one.key): int(one.mod_revision) for one in page.kvs}
            if not page.more:
                return found
            begin, at = bytes(page.kvs[-1].key) + b"\0", int(page.header.revision)


def defragment(access: Access, *, timeout: float) -> None:
    """Let one member give room back to its disk; it answers nobody meanwhile."""
    with client_of(access, timeout, "defragmenting") as (client, rpc):
        client.maintenancestub.Defragment(rpc.DefragmentRequest(), timeout, credentials=client.call_credentials)


def disarm(access: Access, alarm: Alarm, *, timeout: float = TIMEOUT) -> None:
    """End a member's alarm NOSPACE; it takes a quorum, and is raised again at once where there still is no room."""
    with client_of(access, timeout, "ending an alarm") as (client, rpc):
        request = rpc.AlarmRequest(action=rpc.AlarmRequest.DEACTIVATE, memberID=alarm.member_id, alarm=rpc.NOSPACE)
        client.maintenancestub.Alarm(request, timeout, credentials=client.call_credentials)


def _range(client: Any, rpc: Any, key: bytes, timeout: float, **fields: Any) -> Any:
    return client.kvstub.Range(rpc.RangeRequest(key=key, serializable=True, **fields), timeout,
                               credentials=client.call_credentials)


def _from(prefix: bytes) -> bytes:
    return prefix or b"\0"


def _end(prefix: bytes) -> bytes:
    """Return the first key behind those that begin with `prefix`; one zero byte stands for the end of all."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b"\0"


def members_of(listed: Iterable[Any]) -> tuple[MemberSeen, ...]:
    """Read members as etcd lists them."""
    return tuple(MemberSeen(int(m.ID), str(m.name), tuple(m.peerURLs), bool(m.isLearner)) for m in listed)


@contextmanager
def client_of(access: Access, timeout: float, doing: str) -> Iterator[tuple[Any, Any]]:
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
        raise access.blame(_fault(doing, _said(error))) from error
    finally:
        client.close()


def _fault(doing: str, said: str) -> EtcdFault:
    means = words.meaning(said, "etcd", "api")
    return EtcdFault(f"etcd: {doing}: {said}", details=means.details if means else (),
                     hint=means.cure if means else "")


def _said(error: BaseException) -> str:
    """Dig out the server's words: the library's own exception hides them (measured)."""
    cause: Any = error.__cause__ or error
    details = getattr(cause, "details", None)
    return str(details() if callable(details) else details or error or type(error).__name__)
