"""What `doctor --explain NAME` says, and the page of docs: made from the two tables, so it cannot differ from them."""

from __future__ import annotations

from provisioner.operate.doctor.questions import QUESTIONS
from provisioner.operate.doctor.table import BY_NAME, ROWS

_DOCS = {question.name: question.doc for question in QUESTIONS}
NAMES: tuple[str, ...] = tuple(dict.fromkeys((*(row.name for row in ROWS), *_DOCS)))
_ANY = {"host": "the host", "margin": "So many members answer: so many may fail", "server": "HOST", "balancer": "HOST",
        "member": "HOST"}


def explained(name: str) -> dict[str, str]:
    """Return what a finding's name stands for: how urgent it is, what it means and what to type; KeyError for none."""
    document = {"name": name}
    if name in _DOCS:
        document["expected"] = _DOCS[name]
    if name in BY_NAME:
        row = BY_NAME[name]
        document |= {"urgency": row.urgency}
        document |= {"means": row.means.format(**_ANY)
                     } if row.means else {}
        document |= {"type": row.cure.format(**_ANY | {"host": "HOST"})} if row.cure else {}
    return document
