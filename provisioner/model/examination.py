"""What a host that should be serving is asked by `doctor`: how its units live, what is full, what its Pods reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provisioner.model.file_system import FileSystem


@dataclass(frozen=True)
class UnitLife:
    """How a unit lives: `since` when it is as it is, `words` what its last process that ended said at its end."""

    name: str
    exists: bool = True
    active: str = "active"
    sub: str = "running"
    result: str = "success"
    status: int = 0
    restarts: int = 0
    since: float = 0.0
    words: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        return self.active in ("active", "reloading")


@dataclass(frozen=True)
class Lines:
    """Lines of a journal, each with its moment; `why` says why it could not be looked at."""

    lines: tuple[tuple[float, str], ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Inside:
    """What was reached from within Pods' networks: `there` on this host, `asked` of them, and why not, by network."""

    there: int = 0
    asked: int = 0
    dns: Mapping[str, str] = field(default_factory=dict)
    tcp: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Examination:
    """Everything one `examine` call answered; None and `why` stand for what was not looked at."""

    units: tuple[UnitLife, ...] = ()
    failed: tuple[str, ...] = ()                    # other units that systemd calls failed
    kernel: Lines = field(default_factory=Lines)
    disks: tuple[FileSystem, ...] = ()
    said: tuple[Lines, ...] = ()                    # in the order in which they were asked for
    inside: Inside | None = None                    # None: not asked for
    now: float = 0.0                                # by the host's clock
    unseen: Mapping[str, str] = field(default_factory=dict)     # part -> why it could not be looked at
