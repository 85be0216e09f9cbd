"""Rows of words with their columns in line, as every table on the terminal has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from provisioner.model.characters import visible


def in_line(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield each row as a line; columns are as wide as their widest cell, and two blanks are between them.

    Cells come from hosts as well: what would move a terminal's cursor or colour it is written out.
    """
    rows = [tuple(visible(cell) for cell in row) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
