"""What is wrong with a text that is not YAML, in the words of somebody who looks at the file."""

from __future__ import annotations

from typing import Any

import yaml

_AROUND = 60        # how much of a long line is shown on either side


def syntax_fault(text: str, err: yaml.MarkedYAMLError, loader: Any) -> tuple[tuple[int, int], str]:
    """Return line and column (from 1) and the reason; the place is where one has to mend it, as far as can be told."""
    mark = err.problem_mark or err.context_mark
    place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    reason = ", ".join(part for part in (err.context, err.problem) if part)
    lines = text.split("\n")
    for number in dict.fromkeys((place[0], err.context_mark.line + 1 if err.context_mark else place[0])):
        tab = _tab_in_indent(lines, number)
        if tab:
            return (number, tab), "a tab is here; YAML wants blanks before a key"
    if err.context and "quoted scalar" in err.context and err.context_mark:
        return (err.context_mark.line + 1, err.context_mark.column + 1), "this quote is not closed"
    opened = _quote_over_lines(text, loader)
    if opened:
        first, last = opened
        return first, f"this quote is closed in line {last} only; one is missing before"
    if err.problem and "but found another document" in err.problem:
        return place, "a second document begins here; an inventory is a single document"
    return place, reason


def excerpt(text: str, line: int, column: int) -> list[str]:
    """Return the line of the file and a caret under the column, cut where it is long; nothing for a line not there."""
    lines = text.split("\n")
    if not 1 <= line <= len(lines) or not lines[line - 1].strip():
        return []
    source = "".join(" " if c == "\t" else c if c.isprintable() else "?" for c in lines[line - 1].rstrip("\r"))
    begin = max(0, column - 1 - _AROUND)
    shown = source[begin:column - 1 + _AROUND]
    head = f"  {line} | "
    return [f"{head}{shown.rstrip()}", f"{' ' * (len(head) - 2)}| {' ' * (column - 1 - begin)}^"]


def _tab_in_indent(lines: list[str], number: int) -> int:
    """Return the column of a tab before the first sign of a line, or 0."""
    line = lines[number - 1] if number <= len(lines) else ""
    blank = line[:len(line) - len(line.lstrip(" \t"))]
    return blank.find("\t") + 1


def _quote_over_lines(text: str, loader: Any) -> tuple[tuple[int, int], int] | None:
    """Return where the last quoted text over several lines begins, and the line of its end."""
    found = None
    try:
        for token in yaml.scan(text, Loader=loader):
            if isinstance(token, yaml.ScalarToken) and not token.plain and token.style in ("'", '"') \
                    and token.start_mark.line != token.end_mark.line:
                start = token.start_mark
                found = (start.line + 1, start.column + 1), token.end_mark.line + 1
    except yaml.YAMLError:
        return found
    return found
