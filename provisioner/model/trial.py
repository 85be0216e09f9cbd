"""A minor of Kubernetes on trial: control planes run it and behave as the one before, until a person ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.model.artifact import ArtifactLock, LockedArtifact


@dataclass(frozen=True)
class Trial:
    """What was applied of a minor on trial.

    Control planes behave as the minor `emulates` (`1.36`). `until` is when a person wanted to decide (UTC,
    `2026-01-31T12:00:00Z`). `release` ran before, and `before` holds the artifacts in whose place others are now.
    """

    emulates: str
    until: str
    release: str
    before: tuple[LockedArtifact, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"emulates": self.emulates, "until": self.until, "release": self.release,
                "before": [artifact.to_json() for artifact in self.before]}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Trial:
        """Return what `to_json` made; KeyError or TypeError for anything else."""
        return cls(str(values["emulates"]), str(values["until"]), str(values["release"]),
                   tuple(LockedArtifact(**entry) for entry in values["before"]))

    def lock_before(self, lock: ArtifactLock) -> ArtifactLock:
        """Return the lock of what ran before, `lock` being what runs now."""
        gone = {(a.name, a.arch): a for a in self.before}
        return ArtifactLock(tuple(gone.get((a.name, a.arch), a) for a in lock.artifacts))

    def is_over(self, now: str) -> bool:
        """Say whether the time is up at which a person wanted to decide; `now` in the form of `until`."""
        return now >= self.until

    def words(self, release: str) -> str:
        """Say in a line that it is on trial, and how long."""
        return f"Kubernetes {release} behaves as {self.emulates} until {self.until.replace('T', ' ').rstrip('Z')} UTC"


def replaced(before: ArtifactLock, now: ArtifactLock) -> tuple[LockedArtifact, ...]:
    """Return the artifacts of `before` in whose place `now` has others."""
    there = set(now.artifacts)
    return tuple(a for a in before.artifacts if a not in there)
