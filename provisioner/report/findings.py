"""Findings as people read them: those of one cause together, with the hosts that it is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from provisioner.model.cures import cures
from provisioner.model.finding import Finding, Severity


@dataclass(frozen=True)
class Group:
    """Findings with one cause, told together: `cp1, cp2: port 10250 is in use by microk8s`."""

    check: str
    severity: Severity
    saw: str
    hosts: tuple[str, ...]
    cures: tuple[str, ...]
    retry: bool = False

    @property
    def who(self) -> str:
        """Return the hosts before what was seen there; nothing for the cluster as a whole."""
        names = ", ".join(h for h in self.hosts if h)
        return f"{names}: " if names else ""


def grouped(findings: Iterable[Finding]) -> list[Group]:
    """Return the findings by cause, in the order in which the causes were first met."""
    groups: dict[tuple[str, Severity, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.check, finding.severity, finding.saw), []).append(finding)
    return [Group(check, severity, saw, tuple(dict.fromkeys(f.host for f in members)),
                  cures((f.host, f.cure) for f in members), all(f.retry for f in members))
            for (check, severity, saw), members in groups.items()]


def lines(findings: Iterable[Finding], *, below: str = "") -> list[str]:
    """Return a line for each cause: who, what was seen, and the cure; one that is told `below` for all is left out."""
    told = []
    for group in grouped(findings):
        cure = "; ".join(group.cures)
        told.append(f"{group.who}{group.saw}" + (f": {cure}" if cure not in ("", below) else ""))
    return told


def paragraph(group: Group) -> list[str]:
    """Return a cause in full: who, which check and what was seen; then a line for each cure."""
    passing = " (may pass by itself)" if group.retry else ""
    return [f"{group.who}{group.check}: {group.saw}{passing}", *(f"    {cure}" for cure in group.cures)]
