"""Characters that a person cannot see, or takes for others: where they are, and what they are called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Blanks that are none, marks without width, and what turns the direction of writing.
_INVISIBLE = re.compile("[\u0085\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180e\u2000-\u200f\u2028-\u202f"
                        "\u205f-\u206f\u3000\u3164\ufeff\uffa0]")
_COMMENT = re.compile(r"(^|[ \t])#.*")


def visible(text: str) -> str:
    """Return `text` with every character that ends a line or cannot be seen written out, as `\\n` or `\\u200b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def named(character: str) -> str:
    """Return what a character is called: `U+00A0 (NO-BREAK SPACE)`."""
    name = unicodedata.name(character, "a control character")
    return f"U+{ord(character):04X} ({name})"


def invisible(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield line and column (from 1) of each invisible character outside of comments, the first of every line."""
    if _INVISIBLE.search(text) is None:
        return
    for number, line in enumerate(text.split("\n"), start=1):
        seen = line.removeprefix("\ufeff") if number == 1 else line       # an editor's mark at the very beginning
        found = _INVISIBLE.search(_COMMENT.sub("", seen))
        if found:
            yield number, found.start() + 1 + len(line) - len(seen), found[0]


def lookalike(text: str) -> str:
    """Return `; U+043E (...) is in it`, with a word for what only looks like our letters; nothing for plain text."""
    found = next((c for c in text if not c.isascii()), None)
    if found is None:
        return ""
    twin = ", which only looks like one of a to z" if found.isalpha() else ""
    return f"; {named(found)} is in it{twin}"
