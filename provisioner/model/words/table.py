"""The table of words: the one place that says what other programs' words mean, for whoever meets them.

The raw words that each row was made from are in tests/cases/words, with the version that said them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from provisioner.model.words import api, dnf, etcd, node, packages, python, ssh, sudo, units
from provisioner.model.words.row import Meaning, Row

LOOKED_AT = 8000    # characters of a line: a line of a journal may have 48 kB, and no message begins behind so many
SUBJECTS: dict[str, tuple[Row, ...]] = {
    "ssh": ssh.ROWS, "sudo": sudo.ROWS, "packages": packages.ROWS, "dnf": dnf.ROWS,
    "systemd": units.ROWS, "etcd": etcd.ROWS,
    "api": api.ROWS, "node": node.ROWS, "python": python.ROWS}
"""By who says them."""
ON_HOSTS = ("packages", "dnf", "etcd", "node", "systemd", "api", "sudo", "python")
"""Whose words stand in a unit's journal, or in what Ansible's modules answer."""


def row(name: str) -> Row:
    """Return the row of this name; KeyError where there is none."""
    return _by_name()[name]


def meaning(text: str, *subjects: str, **names: object) -> Meaning | None:
    """Return what a text means, or None where no row knows its words: then it is to be shown whole.

    The last line that a row knows counts, as programs end with why they end; words that only tell what came of
    something count where there are no others. Only rows of `subjects` are asked, or all; `names` are what a cure may
    name: the host, the user, the unit.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    for weak in (False, True):
        for line in reversed(lines):
            for one in _rows(subjects, weak):
                if one.pattern.search(line[:LOOKED_AT]):
                    return one.meaning(line[:LOOKED_AT], names)
    return None


def _rows(subjects: Sequence[str], weak: bool) -> Iterator[Row]:
    for subject in subjects or SUBJECTS:
        yield from (one for one in SUBJECTS[subject] if one.weak == weak)


@lru_cache(maxsize=1)
def _by_name() -> dict[str, Row]:
    return {one.name: one for rows in SUBJECTS.values() for one in rows}
