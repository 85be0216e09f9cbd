"""Becoming root where sudo asks for a password: it goes through the command's stdin, and nowhere else.

Whether sudo asks depends on the host (NOPASSWD, a login of a moment ago), so nobody guesses: what is run begins by
reading its stdin up to a mark. sudo has taken the password before it, or has not and it is thrown away there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

QUIET = ("sudo", "-n", "--")                        # asks nobody
ASKED = ("sudo", "-S", "-p", "", "--")              # reads one line, byte by byte, if it asks at all
# `read` of a pipe takes no byte behind the line's end; the variable is none of the environment.
_FROM_MARK = 'unset l; while IFS= read -r l && [ "$l" != "$0" ]; do :; done; unset l; exec "$@"'
WRONG = "sudo-password-wrong"                       # the row of the table of words
PROOF = (*ASKED, "true")                            # asks sudo alone: one wrong password is one try there


def told(password: str) -> bytes:
    """Return the line that sudo reads."""
    return password.encode() + b"\n"


def with_password(argv: Sequence[str], chunks: Iterable[bytes], password: str) -> tuple[list[str], Iterator[bytes]]:
    """Return the command as sudo is given it, and what flows into it: the password first, then `chunks`."""
    mark = secrets.token_hex(16)
    return ([*ASKED, "/bin/sh", "-c", _FROM_MARK, mark, *argv],
            chain((told(password) + mark.encode() + b"\n",), chunks))
