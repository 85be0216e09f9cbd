"""One host's half of a spreading: what it is told, as bytes, and what it tells, taken line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.applier.package import frame
from provisioner.model.desired import Artifact
from provisioner.model.sharing import End, Fetch, Get, Identity, Mirror, Order, Take
from provisioner.transport import packing
from provisioner.transport.packing import CHUNK, Pace

ALIVE = 1.0     # seconds between two signs of life of ours: without one the host ends by itself
STORE_RATE = 2_000_000          # bytes a second: slower than this is a broken line, not a slow one
Progress = Callable[[int], None]
"""Called with the number of bytes just sent."""


@dataclass(frozen=True)
class Talk:
    """What a host is to have, where it serves it, and whom to ask what it is to do next.

    Without an identity it serves nothing, and a file that is None is not here. `next` never waits; `wait` does, until
    there may be something new or for so many seconds. `told` gets each line that the host tells.
    """

    address: str
    identity: Identity | None
    files: Mapping[Artifact, Path | None]
    next: Callable[[], Order]
    wait: Callable[[float], object]
    told: Callable[[Mapping[str, Any]], object]
    seconds: float = 60.0       # that it may last at most
    progress: Progress = field(default=lambda count: None)
    pace: Pace = field(default_factory=Pace)
    mirror: Mirror | None = None

    @property
    def items(self) -> list[Artifact]:
        return list(self.files)


def said(talk: Talk, epoch: int | None) -> Iterator[bytes]:
    """Yield all that the host is told, until there is no more; a sign of life while there is nothing."""
    numbers = {item: number for number, item in enumerate(talk.items)}
    yield frame({"artifacts": entries(talk.items), "epoch": epoch, **_ways(talk)})
    while not isinstance(order := talk.next(), End):
        if isinstance(order, Take) and (path := talk.files[order.item]) is not None:
            packed = talk.pace.packs()
            yield _line({"take": numbers[order.item], "packed": packed})
            for piece, size in packing.pieces(path, talk.pace, packed=packed):
                yield piece
                talk.progress(size)
        elif isinstance(order, Fetch):
            peer = order.peer
            yield _line({"fetch": numbers[order.item],
                         "from": {"name": peer.name, "address": peer.address, "port": peer.port}})
        elif isinstance(order, Get):
            yield _line({"get": numbers[order.item]})
        else:
            talk.wait(ALIVE)
            talk.progress(0)
            yield b"\n"


def _ways(talk: Talk) -> dict[str, Any]:
    """Return how the host reaches others, and they it."""
    ways: dict[str, Any] = {}
    if talk.identity is not None:
        its = talk.identity
        ways |= {"address": talk.address, "tls": {"ca": its.ca, "certificate": its.certificate, "key": its.key}}
    if talk.mirror is not None:
        ways["mirror"] = talk.mirror.told()
    return ways


def entries(items: list[Artifact]) -> list[dict[str, Any]]:
    """Return how artifacts are announced to a host."""
    return [{"path": i.path, "sha256": i.sha256, "size": i.size, "mode": i.mode} for i in items]


def bytes_of(path: Path, progress: Progress) -> Iterator[bytes]:
    """Yield a file in large pieces."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
            progress(len(chunk))


def _line(order: Mapping[str, Any]) -> bytes:
    return json.dumps(order).encode() + b"\n"
