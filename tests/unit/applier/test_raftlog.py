"""What an etcd member has on disk, from logs that etcd has written."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.applier import raftlog

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "etcd-logs.yaml").read_text())
FIRST = "0000000000000000-0000000000000000.wal"
LATER = "0000000000000005-00000000000186a1.wal"


def member(place: Path, log: bytes, name: str = FIRST, *, database: bool = True) -> str:
    """Lay out a member's directory; a log is as long on disk as etcd makes it before it writes."""
    (place / "wal").mkdir(parents=True, exist_ok=True)
    (place / "snap").mkdir(exist_ok=True)
    (place / "wal" / name).write_bytes(log + bytes(4096))
    if database:
        (place / "snap" / "db").write_bytes(b"a database")
    return str(place)


def record(kind: int, data: bytes = b"") -> bytes:
    """Return a record of a log, padded to eight bytes as etcd does."""
    body = bytes([0x08, kind, 0x10, 0x01]) + (bytes([0x1A, len(data)]) + data if data else b"")
    padding = -len(body) % 8
    return struct.pack("<Q", len(body) | (0x80 | padding) << 56 if padding else len(body)) + body + bytes(padding)


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_a_log_tells_whether_its_member_ever_took_part(case: dict[str, Any], tmp_path: Path) -> None:
    assert raftlog.look(member(tmp_path, base64.b64decode(case["log"]))) == (case["state"], {"member": case["member"]})


def test_nothing_and_a_directory_without_a_log_are_told_apart(tmp_path: Path) -> None:
    assert raftlog.look(str(tmp_path / "member")) == ("absent", {})
    (tmp_path / "member").mkdir()
    assert raftlog.look(str(tmp_path / "member")) == ("empty", {})
    assert raftlog.look(member(tmp_path / "member", b"")) == ("empty", {})


def test_a_snapshot_alone_is_data_and_that_of_a_beginning_is_none(tmp_path: Path) -> None:
    assert raftlog.look(member(tmp_path / "a", record(5, bytes([0x08, 0x00, 0x10, 0x00]))))[0] == "empty"
    assert raftlog.look(member(tmp_path / "b", record(5, bytes([0x08, 0x07, 0x10, 0x02]))))[0] == "there"


def test_a_log_that_goes_on_from_a_database_is_nothing_without_it(tmp_path: Path) -> None:
    log = record(4) + record(2, b"entry")
    assert raftlog.look(member(tmp_path / "a", log, LATER))[0] == "there"
    assert raftlog.look(member(tmp_path / "b", log, LATER, database=False))[0] == "empty"
    whole = member(tmp_path / "c", log, FIRST, database=False)
    assert raftlog.look(whole)[0] == "there", "it begins with the first entry"


def test_an_entry_of_a_later_file_counts(tmp_path: Path) -> None:
    member(tmp_path, record(4))
    assert raftlog.look(member(tmp_path, record(2, b"entry"), LATER))[0] == "there"


@pytest.mark.parametrize("bytes_", [b"\x01", b"\xff" * 64, struct.pack("<q", 1 << 40), struct.pack("<q", 100) + b"torn",
                                    struct.pack("<q", 2) + b"\x80\x80", struct.pack("<q", 2) + b"\x0f\x01"])
def test_what_is_no_log_holds_no_entry(bytes_: bytes, tmp_path: Path) -> None:
    place = member(tmp_path, b"")
    (tmp_path / "wal" / FIRST).write_bytes(bytes_)
    assert raftlog.look(place)[0] == "empty"
