"""A YAML text as plain values, with the place of every key and value, so that a fault can name its line.

Only the plain part of YAML is accepted: no anchors, no tags, no duplicate keys, one document.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from provisioner.model.characters import invisible, named
from provisioner.model.yaml_faults import syntax_fault

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml: 500 hosts in 20 ms, else 270
_CONSTRUCT = yaml.constructor.SafeConstructor()
_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + name for name in ("str", "int", "float", "bool", "null")}
_COLLECTIONS = {_TAG + name for name in ("map", "seq")}
_DEEPEST = 20
_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d*)?([eE][-+]?\d+)?|[-+]?\.\d+")


class Mark(NamedTuple):
    """A place in the file, counted from 1 as editors do."""

    line: int
    column: int


class Fault(NamedTuple):
    """One thing that is wrong, where it stands, and what it is about."""

    mark: Mark
    path: Path
    message: str


@dataclass
class Document:
    """The values of one file; `faults` holds what YAML itself would have passed over silently."""

    data: Any = None
    text: str = ""
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    raw: dict[Path, str] = field(default_factory=dict)
    empty: set[Path] = field(default_factory=set)       # keys with nothing behind them; `null` is a word of its own
    faults: list[Fault] = field(default_factory=list)

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Return where the value (or key) at `path` stands; what is absent is placed at its nearest parent."""
        if key and path in self.keys:
            return self.keys[path]
        while path:
            if path in self.values:
                return self.values[path]
            path = path[:-1]
            if path in self.keys:
                return self.keys[path]
        return Mark(1, 1)


def read_document(text: str) -> Document:
    """Parse `text`; syntax faults end it, all others are collected."""
    document = Document(text=text)
    document.faults += [Fault(Mark(line, column), (), _unseen(sign)) for line, column, sign in invisible(text)]
    if document.faults:     # whatever else there is to say would be about what they are taken for
        return document
    try:
        document.faults += [Fault(mark, (), message) for mark, message in _aliases(text)]
        if document.faults:  # an alias may refer to itself: nothing more is read
            return document
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as err:
        mark, reason = syntax_fault(text, err, _LOADER)
        document.faults.append(Fault(Mark(*mark), (), f"not YAML: {reason}"))
        return document
    except yaml.reader.ReaderError as err:
        before = text[: err.position]
        mark = Mark(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        document.faults.append(Fault(mark, (), f"not YAML: {err.reason}"))
        return document
    if node is not None:
        document.data = _value(document, node, ())
    return document


def show_path(path: Path) -> str:
    """Write a path as people read it: `hosts.cp1.taints[0].key`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.replace("-", "").replace("_", "").isalnum():
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def _value(document: Document, node: yaml.Node, path: Path) -> Any:
    document.values[path] = _mark(node.start_mark)
    if len(path) > _DEEPEST:
        return _refuse(document, path, f"nested more than {_DEEPEST} levels deep")
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
        return _refuse(document, path, _tag_message(node))
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, path)
    if isinstance(node, yaml.SequenceNode):
        return [_value(document, item, (*path, index)) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(document, node, path)
    return None


def _mapping(document: Document, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        place = (*path, key)
        mark = _mark(key_node.start_mark)
        if key_node.tag != _TAG + "str":
            document.faults.append(Fault(mark, place, _key_message(key_node)))
        elif key in result:
            first = document.keys[place].line
            document.faults.append(Fault(mark, place, f"this key is here twice, first in line {first}"))
            continue
        document.keys[place] = mark
        result[key] = _value(document, value_node, place)
    return result


def _key_message(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN:
        return f'a key must be text, YAML reads this as {_kind(node.tag)}: write "{node.value}"'
    return "a key must be plain text"


def _scalar(document: Document, node: yaml.ScalarNode, path: Path) -> Any:
    document.raw[path] = node.value
    if node.tag == _TAG + "null" and not node.value:
        document.empty.add(path)
    if node.tag == _TAG + "timestamp":
        return _refuse(document, path, f'YAML reads this as a date: write "{node.value}"')
    if node.tag not in _PLAIN:
        return _refuse(document, path, _tag_message(node))
    try:
        value = _CONSTRUCT.construct_object(node)
    except ValueError:
        return _refuse(document, path, f'not a number that can be read: write "{node.value}"')
    odd = _odd_number(node, value)
    if odd:
        return _refuse(document, path, odd)
    if isinstance(value, float) and not math.isfinite(value):
        return _refuse(document, path, f'not a finite number: write "{node.value}" if it is text')
    return value


def _odd_number(node: yaml.ScalarNode, value: Any) -> str:
    """Say what YAML takes for another number than a person does: 1:30 is 90 to it, 010 is 8, 1_000 is 1000."""
    if node.tag not in (_TAG + "int", _TAG + "float") or _NUMBER.fullmatch(node.value):
        return ""
    seen = f"{value:g}" if isinstance(value, float) else value
    return "" if node.value.lower().endswith(("inf", "nan")) else \
        f'YAML reads this as {seen}: write {seen} if you mean that, or "{node.value}" if it is text'


def _unseen(sign: str) -> str:
    return f"{named(sign)} is here, which looks like a blank, or like nothing, and is neither: take it out"


def _tag_message(node: yaml.Node) -> str:
    return f"the tag {node.tag.removeprefix(_TAG)} is not used here; write plain values"


def _refuse(document: Document, path: Path, message: str) -> None:
    document.faults.append(Fault(document.values[path], path, message))


def _kind(tag: str) -> str:
    name = tag.removeprefix(_TAG)
    return {"bool": "true or false", "null": "nothing", "int": "a number", "float": "a number"}.get(name, name)


def _aliases(text: str) -> Iterator[tuple[Mark, str]]:
    if "&" not in text and "*" not in text:
        return
    for token in yaml.scan(text, Loader=_LOADER):
        if isinstance(token, (yaml.AnchorToken, yaml.AliasToken)):
            sign = "&" if isinstance(token, yaml.AnchorToken) else "*"
            yield _mark(token.start_mark), f"`{sign}{token.value}`: anchors and aliases are not used here; write it out"


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)
