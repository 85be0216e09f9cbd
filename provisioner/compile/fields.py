"""Which fields of a text or an object differ: `--event-ttl 1h → 2h` says more than a path or a digest."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHOWN = 3      # fields named in a reason before the rest is counted
_LONGEST = 48   # characters of a value in a reason; the diff has it whole
MASKED = "(secret)"

Fields = Mapping[str, Any]


class FieldChange(NamedTuple):
    """One field with its value before and after, as text; None where it is not there."""

    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"+{self.name} {_short(self.after or '')}".rstrip()
        if self.after is None:
            return f"-{self.name} {_short(self.before)}".rstrip()
        return f"{self.name} {_short(self.before)} → {_short(self.after)}"


def said(changes: Sequence[FieldChange]) -> str:
    """Return the first few changes as words, and how many more there are."""
    words = [str(change) for change in changes[:_SHOWN]]
    hidden = len(changes) - _SHOWN
    return ", ".join(words) + (f" and {hidden} more" if hidden > 0 else "")


@lru_cache(maxsize=1024)
def of_text(path: str, before: str, after: str) -> tuple[FieldChange, ...]:
    """Return the fields that differ between two texts of the file at `path`; none where it has no fields we can read.

    Two texts that mean the same (a comment, another order) differ in no field.
    """
    for ending, parse in _FORMS:
        if path.endswith(ending):
            try:
                return tuple(differing(parse(before), parse(after)))
            except (yaml.YAMLError, tomllib.TOMLDecodeError, AttributeError):
                break       # by hand it may have become anything: then by lines
    return tuple(_of_lines(before.splitlines(), after.splitlines()))


def differing(before: Any, after: Any, name: str = "") -> Iterator[FieldChange]:
    """Yield the leaves at which two documents differ; items of a list go by their `name` where all have one."""
    if isinstance(before, Mapping | None) and isinstance(after, Mapping | None) and (before or after):
        left, right = before or {}, after or {}
        for key in [*left, *(k for k in right if k not in left)]:
            yield from differing(left.get(key), right.get(key), f"{name}.{key}" if name else str(key))
    elif _named(before) and _named(after):
        left, right = _by_name(before), _by_name(after)
        for key in [*left, *(k for k in right if k not in left)]:
            yield from differing(left.get(key), right.get(key), f"{name}[{key}]")
    elif _text(before) != _text(after):     # as text, for to Python 1 is True
        yield FieldChange(name, _text(before), _text(after))


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) and "name" in v for v in value)


def _by_name(value: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {str(item["name"]): item for item in value}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_text(v) or 'null' for v in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k}: {_text(v)}' for k, v in value.items())}}}"
    return str(value)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST - 1]}…"


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader


def _unit(text: str) -> Fields:
    """Return a systemd unit's settings and the flags of its commands; what stands there twice is joined."""
    fields: dict[str, str] = {}
    for line in text.replace("\\\n", "\n\\").splitlines():
        entry = line.strip().removeprefix("\\").strip().strip('"')
        name, _, value = entry.partition("=")
        if name and name[0] not in "#;[":
            fields[name] = f"{fields[name]} {value}" if name in fields else value
    return fields


def _settings(text: str) -> Fields:
    """Return the settings of a file of `NAME=VALUE` lines."""
    pairs = (line.partition("=") for line in text.splitlines() if line.strip() and line.strip()[0] not in "#;")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _of_lines(before: Sequence[str], after: Sequence[str]) -> Iterator[FieldChange]:
    """Yield replaced lines by the word that they begin with; count the others, which have no name."""
    more = less = 0
    for tag, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        pairs = list(zip(before[i:j], after[k:m], strict=False))
        if tag == "replace" and j - i == m - k and all(_word(old) == _word(new) != "" for old, new in pairs):
            yield from (FieldChange(_word(old), _rest(old), _rest(new)) for old, new in pairs
                        if old.split() != new.split())
        elif tag != "equal":
            less, more = less + j - i, more + m - k
    if more or less:
        yield FieldChange("lines", str(less) if less else None, str(more) if more else None)


def _word(line: str) -> str:
    return line.split(maxsplit=1)[0] if line.strip() else ""


def _rest(line: str) -> str:
    return line.strip()[len(_word(line)):].strip()


_FORMS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    (".service", _unit), ("50-kubewright.conf", _unit), (".yaml", _yaml), (".json", _yaml),
    (".toml", tomllib.loads),
    (".env", _settings), ("99-zz-kubewright.conf", _settings),
)
