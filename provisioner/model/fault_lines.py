"""The faults of a file as lines for people: in its order, all of them unless nobody could read so many."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from provisioner.model.characters import visible
from provisioner.model.document import Fault, Path, show_path
from provisioner.model.yaml_faults import excerpt

_READABLE = 1000    # faults that are told one by one
_ALIKE = 3          # of more, those of one kind that are shown; the rest of them is counted
_LINES = 60         # and of all kinds together
_NO_YAML = "not YAML: "
_VALUES = re.compile(r"`[^`]*`|\d+(\.\d+)*(/\d+)?")


def fault_lines(faults: Sequence[Fault], filename: str, text: str) -> list[str]:
    """Return a line a fault, of very many alike the first few and how many more; syntax with the line of the file.

    `faults` are in the order of the file. A line never holds a character that ends it or cannot be seen.
    """
    if len(faults) <= _READABLE:
        return [line for fault in faults for line in _lines(fault, filename, text)]
    groups: dict[tuple[str, Path], list[Fault]] = {}
    for fault in faults:
        groups.setdefault(_kind(fault), []).append(fault)
    lines: list[str] = []
    hidden = 0
    for alike in groups.values():
        if len(lines) >= _LINES:
            hidden += len(alike)
            continue
        lines += [line for fault in alike[:_ALIKE] for line in _lines(fault, filename, text)]
        if len(alike) > _ALIKE:
            more = f"and {len(alike) - _ALIKE} more like the last one, up to line {alike[-1].mark.line}"
            lines.append(f"{filename}:{alike[_ALIKE].mark.line}: {more}")
    return [*lines, *([f"and {hidden} more faults"] if hidden else [])]


def _lines(fault: Fault, filename: str, text: str) -> Iterator[str]:
    where = f"{filename}:{fault.mark.line}:{fault.mark.column}: "
    yield visible(where + (f"{show_path(fault.path)}: " if fault.path else "") + fault.message)
    if fault.message.startswith(_NO_YAML):
        yield from excerpt(text, fault.mark.line, fault.mark.column)


def _kind(fault: Fault) -> tuple[str, Path]:
    """Return what faults of one kind have in common: the words without values, and the place without the host."""
    shape = tuple("*" if isinstance(part, int) or (number == 1 and fault.path[0] == "hosts") else part
                  for number, part in enumerate(fault.path))
    return _VALUES.sub("*", fault.message), shape
