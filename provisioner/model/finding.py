"""Something that is not as it should be: the one form in which `check`, `status`, `ready` and `certs` tell it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from provisioner.model.characters import visible

Severity = Literal["error", "warning", "unseen"]
"""`unseen`: nobody could tell, which is neither healthy nor unhealthy."""


@dataclass(frozen=True)
class Finding:
    """One fact about one host, or about the cluster where `host` is empty, and what cures it.

    `check` is the question that was asked, `saw` the answer, `expected` what it should be, `cure` how to make it so, as
    a command where there is one. `code` is stable: of a question with several answers it says which; a fault has its
    own. `retry` says that it may pass without anybody's doing: worth another look, which a wrong machine is not.
    What hosts and programs wrote is in `saw` and `cure`: what a terminal would obey is written out here, for all.
    """

    check: str
    host: str
    severity: Severity
    saw: str
    cure: str
    expected: str = field(default="", compare=False)
    code: str = field(default="", compare=False)
    retry: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "saw", visible(self.saw))
        object.__setattr__(self, "cure", visible(self.cure))

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        return {**asdict(self), "code": self.code or self.check}
