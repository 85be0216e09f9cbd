"""A phase is a small value; the list of them is the verb, its help, its headings in every report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from provisioner.model.phases import PhaseName
from provisioner.orchestrate.session.session import Session

Act = Callable[[Session], str]
"""Does the phase's work and returns what was done in a few words (`5 hosts, 12 changes`), empty for nothing."""

FEW = 2


def nothing(session: Session) -> str:
    """Do nothing; for phases that only prove."""
    return ""


def no_gate(session: Session) -> None:
    """Prove nothing; for phases whose proof is the applier's own re-reading."""


def counted(number: int, noun: str) -> str:
    """Return `1 host`, `2 hosts`: how every phase tells its work."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def named(phase: PhaseName, hosts: Sequence[str]) -> str:
    """Return what is worked on in a few words: the hosts while they are few, else the phase."""
    return ", ".join(hosts) if len(hosts) <= FEW else f"phase {phase}"


@dataclass(frozen=True)
class Phase:
    """One part of a verb: `act` makes the changes, `gate` proves them and is run again on every run.

    `after` are the phases whose proof this one needs, none where it needs nothing; without a word, all before it. On a
    first start phases that do not need one another run beside one another. `gate_after` are those without which its
    own proof cannot come: the time that the proof may take is counted from theirs.
    """

    name: PhaseName
    doc: str
    act: Act = nothing
    gate: Callable[[Session], None] = no_gate
    after: tuple[PhaseName, ...] | None = None
    gate_after: tuple[PhaseName, ...] = ()
