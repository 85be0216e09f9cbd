"""Every type of event that the code tells is documented, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TELLING = {"tell", "Event"}


def told() -> set[str]:
    """Return the types of all events that are made: the first argument of `tell` and of `Event`."""
    found = set()
    for path in (ROOT / "provisioner").rglob("*.py"):
        if "applier" in path.parts:
            continue        # its `tell` is another: it writes samples
        text = path.read_text(encoding="utf-8")
        if not any(f"{name}(" in text for name in TELLING):
            continue        # to parse everything takes a second
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in TELLING and isinstance(node.args[0].value, str):
                    found.add(node.args[0].value)
    return found


def test_the_page_of_events_has_exactly_the_types_that_are_told() -> None:
    page = (ROOT / "docs/reference/events.md").read_text(encoding="utf-8")
    table = page[page.index("| type | when |"):].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == told()
    assert len(told()) > 8
