"""The few messages of etcd's API that speak of learners: the client library was made before etcd had them.

Only the fields that are used are described; others that a server sends are passed over, as protobuf does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_STRING, _UINT64, _BOOL, _MESSAGE = 9, 4, 8, 11        # of google.protobuf.FieldDescriptorProto
_PACKAGE = "kubewright.members"
# message -> field -> number, type, whether repeated; as in etcd's api/etcdserverpb/rpc.proto (3.4 and later)
_MESSAGES: Mapping[str, Mapping[str, tuple[int, int | str, bool]]] = {
    "Member": {"ID": (1, _UINT64, False), "name": (2, _STRING, False), "peerURLs": (3, _STRING, True),
               "isLearner": (5, _BOOL, False)},
    "MemberAddRequest": {"peerURLs": (1, _STRING, True), "isLearner": (2, _BOOL, False)},
    "MemberAddResponse": {"member": (2, "Member", False), "members": (3, "Member", True)},
    "MemberListRequest": {"linearizable": (1, _BOOL, False)},
    "MemberListResponse": {"members": (2, "Member", True)},
    "MemberRemoveRequest": {"ID": (1, _UINT64, False)},
    "MemberRemoveResponse": {"members": (2, "Member", True)},
    "MemberUpdateRequest": {"ID": (1, _UINT64, False), "peerURLs": (2, _STRING, True)},
    "MemberUpdateResponse": {"members": (2, "Member", True)},
    "MemberPromoteRequest": {"ID": (1, _UINT64, False)},
    "MemberPromoteResponse": {"members": (2, "Member", True)},
}
_made: dict[str, Any] = {}


def message(name: str) -> Any:
    """Return the class of a message."""
    if not _made:
        _made.update(_make())
    return _made[name]


def _make() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="kubewright/members.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            is_message = isinstance(kind, str)
            described.field.add(name=field, number=number, label=3 if repeated else 1,
                                type=_MESSAGE if is_message else kind,
                                type_name=f".{_PACKAGE}.{kind}" if is_message else None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
            for name in _MESSAGES}


def call(client: Any, verb: str, timeout: float, **fields: Any) -> Any:
    """Call `Cluster/Member<verb>` of one member and return its answer; raises what gRPC does."""
    ask = client.channel.unary_unary(
        f"/etcdserverpb.Cluster/Member{verb}", request_serializer=message(f"Member{verb}Request").SerializeToString,
        response_deserializer=message(f"Member{verb}Response").FromString)
    return ask(message(f"Member{verb}Request")(**fields), timeout, credentials=client.call_credentials)
