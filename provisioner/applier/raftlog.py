"""What an etcd member has on disk: nothing, a log without an entry, or data; and which member it says it is.

A member that has lost its data and was started again makes an empty log, and from outside looks like any other. Its
log (server/storage/wal of etcd 3.4 to 3.6) tells: every member that ever took part has an entry or a snapshot in it.
Only as much is read as it takes to find one, which is the beginning of the oldest file.
"""

from __future__ import annotations

import os
import struct
from typing import Any, Iterator, Optional

ABSENT, EMPTY, THERE = "absent", "empty", "there"
CHUNK = 1 << 20
METADATA, ENTRY, SNAPSHOT = 1, 2, 5
Record = tuple[int, bytes]


def look(directory: str) -> tuple[str, dict[str, Any]]:
    """Return the state of a member's directory, and the id of the member whose it is, where it says so."""
    if not os.path.isdir(directory):
        return ABSENT, {}
    logs = sorted(name for name in _names(f"{directory}/wal") if name.endswith(".wal"))
    member = ""
    for name in logs:
        for kind, data in records(f"{directory}/wal/{name}"):
            if kind == METADATA:
                member = f"{number(data, 1):x}"
            if kind == ENTRY or (kind == SNAPSHOT and number(data, 1)):
                return (THERE if _can_be_replayed(directory, logs[0]) else EMPTY), {"member": member}
    return EMPTY, {"member": member} if member else {}


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _can_be_replayed(directory: str, oldest: str) -> bool:
    """Say whether the log goes back to the first entry, or the database that it goes on from is there."""
    first = oldest.partition("-")[2].partition(".")[0]
    return not first.strip("0") or os.path.isfile(f"{directory}/snap/db")


def records(path: str) -> Iterator[Record]:
    """Yield type and data of a log file's records, up to where it ends, is torn, or has not been written yet."""
    with open(path, "rb") as stream:
        while True:
            head = stream.read(8)
            if len(head) < 8:
                return
            (field,) = struct.unpack("<q", head)
            size = field & ((1 << 56) - 1)
            padding = (field >> 56) & 0x7 if field < 0 else 0
            if not field or size > CHUNK * 64:
                return
            frame = stream.read(size + padding)
            if len(frame) < size + padding:
                return
            yield number(frame[:size], 1), part(frame[:size], 3)


def number(message: bytes, wanted: int) -> int:
    """Return a field of a protobuf message that is a number; 0 where it is not there."""
    found = _field(message, wanted)
    return found if isinstance(found, int) else 0


def part(message: bytes, wanted: int) -> bytes:
    """Return a field of a protobuf message that is bytes; none where it is not there."""
    found = _field(message, wanted)
    return found if isinstance(found, bytes) else b""


def _field(message: bytes, wanted: int) -> Optional[object]:
    at = 0
    try:
        while at < len(message):
            tag, at = _varint(message, at)
            if tag & 7 == 0:
                value, at = _varint(message, at)
                found: object = value
            elif tag & 7 == 2:
                size, at = _varint(message, at)
                found, at = message[at:at + size], at + size
            else:
                return None
            if tag >> 3 == wanted:
                return found
    except IndexError:      # torn
        return None
    return None


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7f) << shift, shift + 7, at + 1
        if not byte & 0x80:
            return value, at
