"""The text of a failure, the same on the screen, in the documentation and in the tests."""

from __future__ import annotations

from collections.abc import Callable

from provisioner.errors import Interrupted, KubewrightError
from provisioner.model.characters import visible


def failure_text(err: KubewrightError, pasted: Callable[[str], str] = str) -> str:
    """Return `error: ...`, one line a detail, the command that helps, and the code by which the error is documented.

    Who asked to stop met no error.

    `pasted` makes the commands of details and hint such that they can be pasted where we were called. What a host said
    is in all of it: what a terminal would obey is written out.
    """
    lines = _lines(err, pasted)
    return "\n".join(visible(line.expandtabs()) for text in lines for line in text.split("\n"))


def _lines(err: KubewrightError, pasted: Callable[[str], str]) -> list[str]:
    details = [pasted(line) for line in err.details]
    if isinstance(err, Interrupted):
        return [err.message, *details, *([f"Continue: {pasted(err.hint)}"] if err.hint else [])]
    hint = [f"hint: {pasted(err.hint)}"] if err.hint else []
    # A general code says no more than the exit code does.
    code = [f"code: {err.code}"] if err.code != type(err).code else []
    return [f"error: {err.message}", *details, *hint, *code]


def failure_document(err: KubewrightError, pasted: Callable[[str], str] = str) -> dict[str, object]:
    """Return the same for programs: `code` is the anchor in docs/reference/errors.md."""
    return {"error": {"code": err.code, "exit_code": err.exit_code, "message": err.message,
                      "details": [pasted(line) for line in err.details], "hint": pasted(err.hint)}}
