"""A terminal that understands what the console writes: what a person would see on it at any moment."""

from __future__ import annotations

import io
import re

_WORD = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|([\n\r])|([^\x1b\n\r]+)")


class Terminal(io.StringIO):
    """A stream that says it is a terminal and keeps its screen; colours are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]
        self.row = self.column = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Move, erase and write as a terminal does; a sequence that is not known fails the test."""
        for found in _WORD.finditer(text):
            _, letter, control, words = found.groups()
            if words is not None:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[:self.column] + words + line[self.column + len(words):]
                self.column += len(words)
            elif control == "\r":
                self.column = 0
            elif control == "\n":
                self.row, self.column = self.row + 1, 0
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif letter == "A":
                self.row -= 1
            elif letter == "J":
                del self.lines[self.row + 1:]
                self.lines[self.row] = self.lines[self.row][:self.column]
            else:
                assert letter == "m", f"the terminal does not know {found[0]!r}"
        return super().write(text)

    @property
    def screen(self) -> list[str]:
        """Return the lines that are seen now, the empty one at the end left out."""
        return [line.rstrip() for line in (self.lines if self.lines[-1] else self.lines[:-1])]
