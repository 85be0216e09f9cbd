"""The text of a failure, the same on the screen, in the documentation and in the tests."""

from __future__ import annotations

from collections.abc import Callable

from provisioner.errors import Interrupted, KubewrightError


def failure_text(err: KubewrightError, pasted: Callable[[str], str] = str) -> str:
    """Return `error: ...`, one line a detail, then the command that helps; who asked to stop met no error.

    `pasted` makes the commands of details and hint such that they can be pasted where we were called.
    """
    details = [pasted(line) for line in err.details]
    if isinstance(err, Interrupted):
        return "\n".join([err.message, *details, *([f"Continue: {pasted(err.hint)}"] if err.hint else [])])
    hint = [f"hint: {pasted(err.hint)}"] if err.hint else []
    return "\n".join([f"error: {err.message}", *details, *hint])
