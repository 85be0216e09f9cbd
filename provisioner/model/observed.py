"""What a host is: the applier's answers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from provisioner.model.facts import Facts

ABSENT = "absent"
BUT = " but "       # in a state: what is odd beside what is said before it
_UP = ("active", "activating", "reloading")


class UnitState(NamedTuple):
    """A unit's state string in its three words: `active enabled current`; one that is absent is none of them."""

    active: str = ABSENT
    enabled: str = ""
    current: str = ""

    @classmethod
    def of(cls, state: str) -> UnitState:
        """Read the applier's state string."""
        return cls(*state.split()[:3])

    @property
    def runs(self) -> bool:
        """Say whether it runs now."""
        return self.active == "active"

    @property
    def is_up(self) -> bool:
        """Say whether it runs or is on its way there."""
        return self.active in _UP

    @property
    def is_enabled(self) -> bool:
        return self.enabled == "enabled"

    @property
    def is_current(self) -> bool:
        """Say whether it started with its inputs as they are now."""
        return self.current == "current"


@dataclass(frozen=True)
class PairState:
    """A certificate's state string in its parts: is the key its own, and the key's mode and owner (`0600 root:root`).

    `digest` is empty where the certificate is no file on a host; `odd` says what is wrong with its own file.
    """

    works: bool
    owned: str = ""
    digest: str = ""
    odd: str = ""

    @classmethod
    def of(cls, state: str) -> PairState:
        """Read the applier's state string; what is no certificate has no key of its own."""
        words, _, odd = state.partition(BUT)
        kind, *parts = words.split()
        if kind != "certificate":
            return cls(False)
        digest = parts.pop(0) if parts and parts[0].startswith("sha256:") else ""
        return cls("key-ok" in parts[:1], " ".join(parts[1:]), digest, odd)

    def __str__(self) -> str:
        words = ("certificate", self.digest, "key-ok" if self.works else "key-mismatch", self.owned)
        return " ".join(word for word in words if word) + (f"{BUT}{self.odd}" if self.odd else "")


@dataclass(frozen=True)
class ObservedItem:
    """The state string of one item, and what else was seen of it (PEM text, restart causes, InvocationID)."""

    kind: str
    path: str
    state: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Owner:
    """The cluster that a host belongs to, as the host remembers it: its name, and the digest of its CA."""

    cluster: str
    ca: str

    @classmethod
    def of_answer(cls, answer: Mapping[str, Any] | None) -> Owner | None:
        """Read the applier's answer; None where the host belongs to nobody yet."""
        return cls(str(answer.get("cluster", "")), str(answer.get("ca", ""))) if answer else None


@dataclass(frozen=True)
class OwnedItem:
    """One thing that we put on the host and that was not asked for: as it is, was before us, and as we wrote it last.

    `seq` says in which order things came; `of` is the unit whose running left it behind, `asked` says of a package that
    it was asked for by name. Where `wrote` is empty, that is not known, or nobody's business.
    """

    kind: str
    path: str
    state: str
    was: str
    wrote: str = ""
    seq: int = 0
    of: str = ""
    asked: bool = False
    size: int = 0

    @classmethod
    def of_answer(cls, row: Mapping[str, Any]) -> OwnedItem:
        """Make it of a row of the applier's answer."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__ if name in row})


@dataclass(frozen=True)
class HostObserved:
    """Everything one `observe` call answered.

    `clock_off` is by how many seconds the host's clock is certainly ahead of ours, negative for behind: 0 when its
    moment lies between our question and its answer, so a slow line never looks like a wrong clock. `epoch` is the run
    before which the host takes no orders any more, 0 where none was ever installed; `owner` whose it is. `owned` is
    what we put there beside the items asked for.
    """

    name: str
    facts: Facts
    items: Mapping[tuple[str, str], ObservedItem]
    clock_off: float = 0.0
    epoch: int = 0
    owner: Owner | None = None
    owned: tuple[OwnedItem, ...] = ()

    def state(self, kind: str, path: str) -> str:
        """Return the state string of an item, `absent` for one that was not asked for."""
        item = self.items.get((kind, path))
        return item.state if item else ABSENT

    def runs(self, unit: str) -> bool:
        """Say whether a unit runs; one that was not asked for does not."""
        return UnitState.of(self.state("unit", unit)).runs

    def extra(self, kind: str, path: str) -> Mapping[str, Any]:
        """Return what else was seen of an item."""
        item = self.items.get((kind, path))
        return item.extra if item else {}
