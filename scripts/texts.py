"""The generated page of what other programs' words mean, from the table and the words that were seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from provisioner.model.words.row import NAMES, Row
from provisioner.model.words.table import SUBJECTS

HEADINGS = {"ssh": "SSH and logins", "sudo": "sudo", "packages": "apt, dpkg and Ansible's apt module", "dnf": "dnf",
            "systemd": "systemd and programs that cannot run", "etcd": "etcd", "api": "The Kubernetes API and TLS",
            "node": "containerd and the kubelet", "python": "Python on the hosts"}
LONGEST = 240       # characters of an example's line on the page; the cases hold them whole


def page(cases: Path) -> Iterator[str]:
    """Yield the page's lines, subject by subject in the order of the table."""
    seen: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(cases.glob("*.yaml")):
        for case in yaml.safe_load(file.read_text(encoding="utf-8")):
            seen.setdefault(case["row"], []).append(case)
    yield "<!-- Written by scripts/reference from provisioner/model/words and tests/cases/words; do not edit. -->"
    yield "# What other programs' words mean\n"
    capitals = ", ".join(f"`{name}`" for name in NAMES.values() if name.isupper())
    yield ("Where something fails that is not ours, what it said is looked up here: the headline stands in the\n"
           "error, the likely causes and what to type below it, and then the words themselves. Words that nobody\n"
           f"knows yet are shown as they are. The causes are in the order of their likelihood; {capitals}\n"
           "and other words in capitals stand for what an error names. Every row is tested with words that were seen,\n"
           "`tests/cases/words`; those from a program's source say so.")
    for subject, rows in SUBJECTS.items():
        yield f"\n## {HEADINGS[subject]}"
        for row in rows:
            yield from _row(row, seen.get(row.name, []))


def _row(row: Row, cases: list[dict[str, Any]]) -> Iterator[str]:
    means = row.meaning("", dict(NAMES))
    says = " ".join(_named(row.says, row).split())
    yield f"\n### {row.name}\n"
    yield f"{says[:1].upper()}{says[1:]}.\n" if says.strip("…") else "Told in these words.\n"
    yield "```text"
    yield from dict.fromkeys(_line(case["raw"], row) for case in cases)
    yield "```\n"
    yield f"*Seen:* {', '.join(dict.fromkeys(case['seen'] for case in cases))}."
    if means.causes:
        yield "\n" + "\n".join(f"{number}. {cause}" for number, cause in enumerate(means.causes, start=1))
    if means.cure:
        yield f"\n*Then:* {_code(means.cure)}"


def _named(text: str, row: Row) -> str:
    """Return a text with its groups in capitals, as the page writes what differs."""
    groups = {name: name.upper() for name in row.pattern.groupindex}
    groups |= {name: "…" for name in ("all", "also", "third", "keys", "wal", "why") if name in groups}
    return text.format(**{**NAMES, **groups})


def _line(raw: str, row: Row) -> str:
    lines = [line for line in raw.splitlines() if row.pattern.search(line)]
    line = lines[-1] if lines else raw.splitlines()[-1]
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _code(cure: str) -> str:
    return cure if "`" in cure else "; ".join(f"`{part}`" for part in cure.split("; "))
