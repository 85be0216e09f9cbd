"""What a host keeps of a path: its state before the step that changed it last, and now."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.model.observed import ABSENT, PairState


@dataclass(frozen=True)
class Kept:
    """The newest generation of one path; `was` and `now` are state strings, `saved` seconds since 1970.

    Texts are None where there is none to show: a secret, a link, a certificate.
    """

    kind: str
    path: str
    step: str
    saved: int
    was: str
    now: str
    was_text: str | None = None
    now_text: str | None = None

    @classmethod
    def of_answer(cls, row: Mapping[str, Any]) -> Kept:
        """Make it of a row of the applier's `kept`."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__ if name in row})

    @property
    def run(self) -> str:
        """Return the run that the step belongs to: a step is `RUN.PHASE.NUMBER`."""
        return self.step.partition(".")[0]

    @property
    def phase(self) -> str:
        """Return the phase that the step belongs to."""
        return self.step.partition(".")[2].partition(".")[0]

    @property
    def can_go_back(self) -> bool:
        """Say whether the host can make it so again: not a link where a file belongs, nor a pair without its key."""
        if self.kind == "certificate" and self.was != ABSENT:
            return PairState.of(self.was).works
        return not self.was.startswith("other ")

    @property
    def diff(self) -> str:
        """Return how going back changes the text, as a unified diff; else what becomes of the path, in its states."""
        if self.was_text is None or self.now_text is None:
            return "(secret, put back)" if self.kind == "certificate" or "hmac:" in self.was + self.now else (
                f"-{self.now}\n+{self.was}")
        return "\n".join(difflib.unified_diff(self.now_text.splitlines(), self.was_text.splitlines(),
                                              f"a{self.path}", f"b{self.path}", lineterm="", n=2))

    @property
    def reason(self) -> str:
        """Say what going back does to the path."""
        return "was not there" if self.was == ABSENT else "as it was"
