"""A person's yes before anything is changed: `--yes`, or an answer at a terminal. Where nobody can answer, it is no."""

from __future__ import annotations

import sys

import click

from provisioner.cli.context import Context
from provisioner.errors import RefusedForSafety


def can_ask() -> bool:
    """Say whether somebody sees a question and can answer it.

    It is asked on stderr, below what it is about: with that in a file or a pipe, nobody may have seen either.
    """
    return sys.stdin.isatty() and sys.stderr.isatty()


def agreed(context: Context, question: str, doing: str, *, yes: bool, may_ask: bool = True, first: str = "") -> bool:
    """Return whether somebody said yes to what was just shown; RefusedForSafety where nobody can be asked.

    `doing` names it in the refusal, and `first` what to do before the command that the refusal ends with.
    """
    if yes:
        return True
    if not (may_ask and can_ask()):
        ends = [name for name, stream in (("stdin", sys.stdin), ("stderr", sys.stderr)) if not stream.isatty()]
        why = [f"a question needs a terminal: {' and '.join(ends)} is none"] if ends else []
        raise RefusedForSafety(f"{doing}: nobody is there to ask; nothing was changed", details=why, code="needs-yes",
                               hint=f"{first}{context.again('--yes')}")
    return click.confirm(question, err=True)
