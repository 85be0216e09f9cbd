"""Answers of etcd's API that our client's own messages end before: newer fields of a status, hashes, learners.

The numbers are those of etcd's rpc.proto (api/etcdserverpb, 3.6); only the fields that are used are described. Others
that a server sends are passed over, and those that an older server does not send read as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_PACKAGE = "kubewright.etcd"
_INT, _UINT, _BOOL, _TEXT, _MESSAGE, _UINT32 = 3, 4, 8, 9, 11, 13       # FieldDescriptorProto.Type
_HEADER = {"header": (1, "ResponseHeader", False)}
# message -> field -> number, type or the message that it holds, whether repeated
_MESSAGES: Mapping[str, Mapping[str, tuple[int, int | str, bool]]] = {
    "ResponseHeader": {"cluster_id": (1, _UINT, False), "member_id": (2, _UINT, False), "revision": (3, _INT, False)},
    "StatusResponse": {**_HEADER, "version": (2, _TEXT, False), "dbSize": (3, _INT, False), "leader": (4, _UINT, False),
                       "raftIndex": (5, _UINT, False), "raftTerm": (6, _UINT, False),
                       "raftAppliedIndex": (7, _UINT, False), "dbSizeInUse": (9, _INT, False),
                       "isLearner": (10, _BOOL, False)},
    "HashKVRequest": {"revision": (1, _INT, False)},
    "HashKVResponse": {**_HEADER, "hash": (2, _UINT32, False), "compact_revision": (3, _INT, False)},
    "Member": {"ID": (1, _UINT, False), "name": (2, _TEXT, False), "peerURLs": (3, _TEXT, True),
               "isLearner": (5, _BOOL, False)},
    "MemberAddRequest": {"peerURLs": (1, _TEXT, True), "isLearner": (2, _BOOL, False)},
    "MemberAddResponse": {"member": (2, "Member", False)},
    "MemberListRequest": {"linearizable": (1, _BOOL, False)},
    "MemberListResponse": {"members": (2, "Member", True)},
    "MemberRemoveRequest": {"ID": (1, _UINT, False)},
    "MemberRemoveResponse": {},
    "MemberPromoteRequest": {"ID": (1, _UINT, False)},
    "MemberPromoteResponse": {},
}


def status(client: Any, request: Any, timeout: float) -> Any:
    """Ask a member for its status; `request` is the client's own, which is empty."""
    return _call(client, "Maintenance/Status", request, "StatusResponse", timeout)


def hash_kv(client: Any, revision: int, timeout: float) -> Any:
    """Ask a member for the hash of all keys up to a revision; 0 for its newest."""
    request = _messages()["HashKVRequest"](revision=revision)
    return _call(client, "Maintenance/HashKV", request, "HashKVResponse", timeout)


def members(client: Any, verb: str, timeout: float, **fields: Any) -> Any:
    """Call `Cluster/Member<verb>` of one member and return its answer; raises what gRPC does."""
    request = _messages()[f"Member{verb}Request"](**fields)
    return _call(client, f"Cluster/Member{verb}", request, f"Member{verb}Response", timeout)


def _call(client: Any, name: str, request: Any, answer: str, timeout: float) -> Any:
    ask = client.channel.unary_unary(
        f"/etcdserverpb.{name}", request_serializer=type(request).SerializeToString,
        response_deserializer=_messages()[answer].FromString)
    return ask(request, timeout, credentials=client.call_credentials)


@lru_cache(maxsize=1)
def _messages() -> dict[str, Any]:
    """Return the messages by name, in a pool of their own: they are no others' of the same name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="kubewright/etcd.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            held = f".{_PACKAGE}.{kind}" if isinstance(kind, str) else None
            described.field.add(name=field, number=number, label=3 if repeated else 1, type_name=held,
                                type=_MESSAGE if isinstance(kind, str) else kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
            for name in _MESSAGES}
