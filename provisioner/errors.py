"""Every failure a person can meet, one exit code a branch.

KubewrightError                 1  a fault of ours
├── UsageFault                 64  the command line is wrong
├── InventoryRefused           10  cluster.yaml is wrong; nothing was contacted
├── PreflightRefused           11  the machines are not fit; nothing was changed
├── Unreachable                12  network, authentication or host key
├── GateFailed                 13  a step's proof did not come; resumable
├── LockHeld                   14  another run owns the cluster
├── RefusedForSafety           15  it would endanger data or availability
├── PlanStale                  16  a host is not what the plan saw
└── Interrupted               130  stopped by the person; resumable
"""

from __future__ import annotations

import errno
from collections.abc import Sequence


class KubewrightError(Exception):
    """A failure told as `<host>: <doing>: <saw>`, with what is still fine and a command to paste.

    `message` is the headline, `details` are further lines (one fault a line), `hint` is a command,
    `code` is the stable name that is also the documentation's anchor, `passes` says that it may go away by itself.
    """

    exit_code = 1
    code = "internal"
    passes = False

    def __init__(self, message: str, *, details: Sequence[str] = (), hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.hint = hint
        if code:
            self.code = code


class UsageFault(KubewrightError):
    """The command line asks for something that does not exist."""

    exit_code = 64
    code = "usage"


class InventoryRefused(KubewrightError):
    """The inventory is wrong; every fault is listed and no host was contacted."""

    exit_code = 10
    code = "inventory-refused"


class PreflightRefused(KubewrightError):
    """A machine is not fit for its roles; nothing was changed on any host."""

    exit_code = 11
    code = "preflight-refused"


class Unreachable(KubewrightError):
    """A host did not answer, did not accept us, or showed an unknown key."""

    exit_code = 12
    code = "unreachable"


class GateFailed(KubewrightError):
    """The proof that a step worked did not come before its deadline; a re-run continues."""

    exit_code = 13
    code = "gate-failed"


class LockHeld(KubewrightError):
    """Another run owns this cluster."""

    exit_code = 14
    code = "lock-held"
    passes = True


class RefusedForSafety(KubewrightError):
    """The act would endanger data or availability."""

    exit_code = 15
    code = "refused-for-safety"


class PlanStale(KubewrightError):
    """A host no longer is what the plan was made from; nothing was written there."""

    exit_code = 16
    code = "plan-stale"


class Interrupted(KubewrightError):
    """The person stopped the run; a re-run continues."""

    exit_code = 130
    code = "interrupted"


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def of_full_disk(err: BaseException, kind: type[KubewrightError]) -> KubewrightError | None:
    """Return what to tell of a disk of this machine that takes no more, None for any other fault."""
    if not isinstance(err, OSError) or err.errno not in FULL:
        return None
    place = str(err.filename or "what is kept or shown here")
    return kind(f"this machine: writing {place}: {err.strerror}", code="disk-full",
                hint=f"df -h {err.filename or '.'}")
