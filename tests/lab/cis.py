"""The rows of tests/cases/cis-1.12.yaml: what they need read on a host, and whether what was read is as they say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CASES = Path(__file__).resolve().parent.parent / "cases" / "cis-1.12.yaml"
KINDS = ("mode", "owner", "flag", "field")
EXPECTATIONS = ("is", "has", "lacks", "at_least", "only", "keys", "absent", "set")

Row = Mapping[str, Any]
Seen = Mapping[str, Any]


@cache
def rows() -> list[dict[str, Any]]:
    """Return every row of the table."""
    return list(yaml.safe_load(CASES.read_text(encoding="utf-8")))


def rows_of(roles: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows that ask a host of these roles (`etcd`, `control-plane`, `node`)."""
    return [row for row in rows() if "instead" not in row and row["hosts"] in roles]


def to_read(chosen: Sequence[Row]) -> dict[str, list[str]]:
    """Return what onhost_read.py is asked for, each thing once."""
    return {
        "globs": sorted({row[kind]["path"] for row in chosen for kind in ("mode", "owner") if kind in row}),
        "programs": sorted({row["flag"]["process"] for row in chosen if "flag" in row}),
        "files": sorted({row["field"]["file"] for row in chosen if "field" in row}),
    }


def faults(chosen: Sequence[Row], seen: Seen) -> list[str]:
    """Return a line for every row that does not hold."""
    return [f"{row['id']}: {why}" for row in chosen for why in _judge(row, seen)]


def _judge(row: Row, seen: Seen) -> list[str]:
    kind = next(k for k in KINDS if k in row)
    wish = row[kind]
    if kind in ("mode", "owner"):
        return _paths(kind, wish, seen["paths"])
    if kind == "flag":
        words = seen["processes"][wish["process"]]
        if words is None:
            return [f"{wish['process']} does not run"]
        value = flag(words, wish["name"])
        return [] if holds(wish, value) else [f"{wish['process']} --{wish['name']} is {value}"]
    if wish["file"] not in seen["texts"]:
        return [f"there is no {wish['file']}"]
    value = field(yaml.safe_load(seen["texts"][wish["file"]]), wish["path"])
    return [] if holds(wish, value) else [f"{wish['file']}: {wish['path']} is {json.dumps(value)}"]


def _paths(kind: str, wish: Row, paths: Mapping[str, Sequence[str]]) -> list[str]:
    matching = {p: v for p, v in paths.items() if _matches(p, wish["path"])}
    if not matching:
        return [f"there is no {wish['path']}"]
    if kind == "owner":
        return [f"{p} is {owner}" for p, (_, owner) in matching.items() if owner != wish["is"]]
    return [f"{p} is {mode}" for p, (mode, _) in matching.items() if int(mode, 8) & ~int(wish["is"], 8)]


def _matches(path: str, pattern: str) -> bool:
    """Match as the host's glob did: `**/` is any depth, `*` stays within one name."""
    regex = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(regex, path) is not None


def flag(words: Sequence[str], name: str) -> str | None:
    """Return the value of `--name=value` on a command line, the last one as the program would take."""
    return next((w.partition("=")[2] for w in reversed(words) if w.partition("=")[0] == f"--{name}"), None)


def field(body: Any, path: str) -> Any:
    """Return what lies at a dotted path, or None; a number is a place in a list."""
    for part in path.split("."):
        try:
            body = body[int(part)] if isinstance(body, list) else body[part]
        except (KeyError, IndexError, TypeError):
            return None
    return body


def holds(wish: Row, value: Any) -> bool:
    """Say whether `value` (None: not there) is as the row wishes."""
    listed = value.split(",") if isinstance(value, str) else value or []
    match next(word for word in EXPECTATIONS if word in wish):
        case "is":
            return bool(value == wish["is"])
        case "has":
            return wish["has"] in listed
        case "lacks":
            return wish["lacks"] not in listed
        case "at_least":
            return value is not None and int(value) >= wish["at_least"]
        case "only":
            return bool(listed) and set(listed) <= set(wish["only"])
        case "keys":
            return isinstance(value, dict) and list(value) == wish["keys"]
        case "absent":
            return value is None
        case _:
            return bool(value)
