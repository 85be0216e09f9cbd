"""Answers of etcd's API that our client's own messages end before: the newer fields of a status, hashes.

The numbers are those of etcd's rpc.proto (api/etcdserverpb, 3.6); fields that an older server does not send read as 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_PACKAGE = "kubewright.etcd"
_INT, _UINT, _UINT32, _BOOL, _TEXT = 3, 4, 13, 8, 9      # FieldDescriptorProto.Type
_HEADER = {"cluster_id": (1, _UINT), "member_id": (2, _UINT), "revision": (3, _INT), "raft_term": (4, _UINT)}
_MESSAGES: dict[str, dict[str, tuple[int, int]]] = {
    "StatusResponse": {"version": (2, _TEXT), "dbSize": (3, _INT), "leader": (4, _UINT), "raftIndex": (5, _UINT),
                       "raftTerm": (6, _UINT), "raftAppliedIndex": (7, _UINT), "dbSizeInUse": (9, _INT),
                       "isLearner": (10, _BOOL), "dbSizeQuota": (12, _INT)},
    "HashKVRequest": {"revision": (1, _INT)},
    "HashKVResponse": {"hash": (2, _UINT32), "compact_revision": (3, _INT), "hash_revision": (4, _INT)},
}


def status(channel: Any, request: Any, timeout: float) -> Any:
    """Ask a member for its status; `request` is the client's own, which is empty."""
    return _call(channel, "Status", request, "StatusResponse", timeout)


def hash_kv(channel: Any, revision: int, timeout: float) -> Any:
    """Ask a member for the hash of all keys up to a revision; 0 for its newest."""
    return _call(channel, "HashKV", _messages()["HashKVRequest"](revision=revision), "HashKVResponse", timeout)


def _call(channel: Any, name: str, request: Any, answer: str, timeout: float) -> Any:
    ask = channel.unary_unary(f"/etcdserverpb.Maintenance/{name}", request_serializer=type(request).SerializeToString,
                              response_deserializer=_messages()[answer].FromString)
    return ask(request, timeout=timeout)


@lru_cache(maxsize=1)
def _messages() -> dict[str, Any]:
    """Return the messages by name, in a pool of their own: they are no others' of the same name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="kubewright/etcd.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in {"ResponseHeader": _HEADER, **_MESSAGES}.items():
        message = file.message_type.add(name=name)
        if name.endswith("Response"):
            message.field.add(name="header", number=1, type=11, label=1, type_name=f".{_PACKAGE}.ResponseHeader")
        for field, (number, kind) in fields.items():
            message.field.add(name=field, number=number, type=kind, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
            for name in _MESSAGES}
