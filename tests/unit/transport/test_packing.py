"""When files go out packed, and what comes of it."""

from __future__ import annotations

import zlib
from pathlib import Path

from provisioner.transport import packing
from provisioner.transport.packing import SLOW, Pace, pieces


def test_only_where_the_way_was_seen_to_be_slow_is_packing_tried_and_only_while_it_is_faster() -> None:
    pace = Pace()
    assert not pace.packs(), "nothing was seen yet"
    pace.saw(10 * SLOW, 1.0, packed=False)
    assert not pace.packs()
    for _ in range(10):
        pace.saw(SLOW // 10, 1.0, packed=False)
    assert pace.packs(), "tried"
    pace.saw(SLOW // 4, 1.0, packed=True)
    assert pace.packs(), "kept"
    for _ in range(10):
        pace.saw(SLOW // 100, 1.0, packed=True)
    assert not pace.packs(), "it is the machine that is slow"


def test_a_file_goes_out_whole_either_way_and_its_pace_is_that_of_whoever_takes_it(tmp_path: Path) -> None:
    data = b"abc" * 900_000
    (tmp_path / "a").write_bytes(data)
    pace = Pace()
    plain = list(pieces(tmp_path / "a", pace, packed=False))
    assert b"".join(piece for piece, _ in plain) == data
    packed = list(pieces(tmp_path / "a", pace, packed=True))
    assert [size for _, size in packed] == [packing.CHUNK, packing.CHUNK, len(data) - 2 * packing.CHUNK]
    assert all(int.from_bytes(piece[:4], "big") == len(piece) - 4 for piece, _ in packed)
    assert b"".join(zlib.decompress(piece[4:]) for piece, _ in packed) == data
    assert sum(len(piece) for piece, _ in packed) < len(data) // 10
