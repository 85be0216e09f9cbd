"""What hosts of a run are told so that they get artifacts from a mirror and each other: applier-protocol.md."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.model.desired import Artifact


@dataclass(frozen=True)
class Peer:
    """Where a host of this run serves what it has."""

    name: str
    address: str
    port: int


@dataclass(frozen=True)
class Take:
    """The operator's own bytes of an artifact follow."""

    item: Artifact


@dataclass(frozen=True)
class Fetch:
    """An artifact is to be had from a peer."""

    item: Artifact
    peer: Peer


@dataclass(frozen=True)
class Get:
    """An artifact is to be had from the mirror."""

    item: Artifact


@dataclass(frozen=True)
class Wait:
    """There is nothing to say now."""


@dataclass(frozen=True)
class End:
    """There is nothing to say any more."""


Spread = Take | Fetch | Wait | End
Order = Spread | Get


@dataclass(frozen=True)
class Identity:
    """What a host proves itself by to its peers, PEM; in memory only, and the key in no repr."""

    ca: str
    certificate: str
    key: str

    def __repr__(self) -> str:
        return "Identity(***)"


@dataclass(frozen=True)
class Mirror:
    """A web server that has artifacts by their digest, and how a host reaches it; nothing that it gives is believed.

    `trust` are certificates of authorities beside those of the host's system.
    """

    url: str
    proxy: str = ""
    trust: tuple[str, ...] = ()

    def told(self) -> dict[str, str]:
        """Return it as a host is told of it."""
        return {"url": self.url, "proxy": self.proxy, "trust": "".join(self.trust)}
