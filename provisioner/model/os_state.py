"""What an operating system waits for: newer packages as its own package manager would bring them, and a reboot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PACKAGE, REBOOT = "os-package", "reboot"    # kinds of changes that only `upgrade --os` makes
OF_OS = (PACKAGE, REBOOT)
HOST = "host"                               # what is rebooted
# `Inst runc [1.1.5] (1.1.6 Debian:12.5/stable [amd64])`; what comes anew has no version in brackets.
_INST = re.compile(r"Inst (\S+)(?: \[([^\]]+)\])? \((\S+)[ )]")


class Newer(NamedTuple):
    """A package that gets another version; `was` is empty where it comes anew with another."""

    name: str
    was: str
    will: str


@dataclass(frozen=True)
class OsState:
    """One host: its boot, what would be upgraded, what is held, and whether a reboot is asked for (and by whom).

    `half` are packages that an upgrade which was cut short left half done. `unseen` says why what could not be asked.
    """

    boot: str = ""
    newer: tuple[Newer, ...] = ()
    held: tuple[str, ...] = ()
    automatic: frozenset[str] = frozenset()
    required: bool = False
    by: tuple[str, ...] = ()
    half: tuple[str, ...] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_answer(cls, answer: Mapping[str, Any]) -> OsState:
        """Make it of the applier's answer; what it could not look at stays empty, and is named as unseen.

        Of apt it has the words, of dnf rows of name and versions.
        """
        newer = newer_of(str(answer.get("would", ""))) + tuple(Newer(*row) for row in answer.get("newer", ()))
        return cls(str(answer.get("boot", "")), newer, tuple(answer.get("held", ())),
                   frozenset(answer.get("automatic", ())), bool(answer.get("required")), tuple(answer.get("by", ())),
                   tuple(answer.get("half", ())), dict(answer.get("unseen", {})))


def newer_of(said: str) -> tuple[Newer, ...]:
    """Read what `apt-get --simulate upgrade` says that it would install."""
    found = (_INST.match(line) for line in said.splitlines())
    return tuple(Newer(one[1], one[2] or "", one[3]) for one in found if one)
