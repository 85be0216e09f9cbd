"""One row of the table of words, and what it makes of them."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from provisioner.model.characters import visible

NAMES = {"host": "HOST", "user": "USER", "unit": "UNIT", "login": "USER@HOST", "port": "PORT", "address": "ADDRESS",
         "key": "KEY"}
"""What a cure may name besides the groups of its row's words: who asks for a meaning knows most of them."""


@dataclass(frozen=True)
class Meaning:
    """What words mean: `likely` is one line of causes, `cure` a command to paste where there is one."""

    name: str
    code: str
    says: str
    causes: tuple[str, ...]
    cure: str

    @property
    def likely(self) -> str:
        """Return the causes in one line, the likeliest first; "" where the words are their own cause."""
        return f"likely: {'; or '.join(self.causes)}" if self.causes else ""

    @property
    def details(self) -> tuple[str, ...]:
        """Return headline and causes as lines below the words themselves."""
        return tuple(line for line in (self.says, self.likely) if line)

    def lines(self) -> tuple[str, ...]:
        """Return the causes and the cure as lines below a headline."""
        return tuple(line for line in (self.likely, f"try: {self.cure}" if self.cure else "") if line)


@dataclass(frozen=True)
class Row:
    """Words of a program, recognised by a regular expression in one of its lines, and what they mean.

    `{group}` in `says` and `cure` is what the expression's group has found, `{host}` and the other NAMES what the
    asker knows. `weak` words only tell what came of something: any other row that fits says more. `code` is the
    code of the error that these words become, where it is not the row's name.
    """

    name: str
    words: str
    says: str
    causes: tuple[str, ...] = ()
    cure: str = ""
    weak: bool = False
    code: str = ""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self.words, re.IGNORECASE)

    def meaning(self, line: str, names: Mapping[str, object]) -> Meaning:
        """Return what these words mean in a line; one that does not hold them still means it, without their groups."""
        found = self.pattern.search(line)
        groups = found.groupdict() if found else dict.fromkeys(self.pattern.groupindex)
        known = {**NAMES, **{name: str(value) for name, value in names.items() if value}}
        said = {**known, **{name: visible(value or "") for name, value in groups.items()}}
        typed = {**known, **{name: _harmless(name, value) for name, value in groups.items()}}
        return Meaning(self.name, self.code or self.name, _filled(self.says, said), self.causes,
                       _filled(self.cure, typed))


def _harmless(name: str, value: str | None) -> str:
    """Return what words bring into a command: whoever wrote them may not write more of it than one word."""
    return value if value and shlex.quote(value) == value else name.upper()


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its values in place; brackets and a colon that hold nothing are left out."""
    if not any(name for _, name, _, _ in string.Formatter().parse(text)):
        return text.format()
    return re.sub(r"\s*\(\s*\)", "", text.format(**values)).rstrip(" :")
