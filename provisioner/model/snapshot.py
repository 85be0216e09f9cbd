"""What is known of a snapshot of etcd: written beside it when it is taken, in the clear, and read before it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Manifest:
    """Whose data a snapshot holds, and what a restore of it must show.

    `etcd_ca` is the fingerprint of the CA that the members' certificates are of: it stays through every restore, which
    `cluster_id` does not. `keys` are counted and `hash` is taken by the member itself at `revision`; a hash counts from
    `compacted` on, and is 0 where the member had compacted once more before it was asked.
    """

    cluster: str
    etcd_ca: str
    cluster_id: str
    member: str
    members: tuple[str, ...]
    etcd: str
    kubernetes: str
    revision: int
    keys: int
    hash: int
    compacted: int
    sha256: str
    size: int
    taken: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"members": list(self.members)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Manifest:
        """Read what `to_json` wrote; KeyError, TypeError or ValueError where it is not that."""
        values: dict[str, Any] = {f.name: document[f.name] for f in fields(cls)}
        values |= {name: int(values[name]) for name in ("revision", "keys", "hash", "compacted", "size")}
        return cls(**values | {"members": tuple(str(m) for m in values["members"])})

    @classmethod
    def read(cls, text: str) -> Manifest:
        """Read a manifest's file; ValueError where it is none."""
        try:
            return cls.of(json.loads(text))
        except (KeyError, TypeError) as fault:
            raise ValueError(f"no manifest of a snapshot: {fault}") from None


@dataclass(frozen=True)
class Proof:
    """What a member showed that was started from a snapshot, on loopback and thrown away.

    `hash` is True where it is the one of the manifest, None where there was none to compare. `secret` is the key of a
    Secret that was decrypted, empty where the snapshot holds none.
    """

    revision: int
    keys: int
    hash: bool | None
    secret: str
    seconds: float
    at: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Restore:
    """What etcd's data is put back to: a snapshot in the clear on this machine, and how members are made from it.

    `bump` is added to every revision, so that none that a client has seen comes again: the members then begin at
    `reached`. `token` gives the cluster and
    its members new ids: a member of before, with the data of before, is a stranger to them. `survivor` is where the
    snapshot is kept where it is that of the member that was left.
    """

    db: Path
    sha256: str
    hashed: bool
    keys: int
    bump: int
    reached: int
    token: str
    survivor: Path | None = None
